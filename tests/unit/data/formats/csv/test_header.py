"""Detecting headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.spec import CsvFormat, Header

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

HEADERS = [
    "id,name\n1,Jo\n",
    "id,name\n",
    "word\nplain\nleft;right\n",
    "metal\nIron\nZinc\nTin\n",
    "country,code\nNamibia,NA\nKenya,NA\n",
    "no,at,rate\n1,5001,0.25\n",
    "t,f\n1,2\n",
    "P|Q|R|\n7|8|9|\n4|5|6|\n",
    ",amount\na,5\nb,6\n",
    "položka;částka\nA;14,75\nB;23 508,40\n",
    "First Name,Last Name\nAnna,Berg\nBob,Cole\n",
    "firstName,lastName\nAnna,Berg\nBob,Cole\n",
    "Nom,Ville\nAnne,Lyon\n",
    "Datum;Betrag\n01.02.2024;1.450,00\n",
    "e-mail,joined\nanna@example.com,2024-01-02\n",
    "Qty 2,Qty 3\n4,5\n",
    "Top 10,Rest\n4,5\n",
    "2nd,x\na,1\n",
    "col1,col2\n1,2\n",
    "Straße,Nr\nHauptweg,4\n",
    "uuid,flag\n6fa459ea-ee8a-3ca4-894e-db77e160355e,true\n",
    "起点,终点\n1,2\n",
    'code,"Label","Top pay\n2020"\n0001,a,3\n',
    "ip,seen\n10.0.0.1,12:30\n",
    "% done,# items\n10,3\n",
    "snake_case,other_name\nhello,world\n",
    "Mixed Words,Amount\nfoo,1\n",
]

RECORDS = [
    '09/03/2021,Bread,"1,450.00"\n17/03/2021,Milk,"32.00"\n',
    "2021-03-09,Bread\n2021-03-17,Milk\n",
    "9.3.2021;Brot\n17.3.2021;Milch\n",
    "03/09/21,Bread\n03/17/21,Milk\n",
    "9 Mar 2021,Bread\n17 Mar 2021,Milk\n",
    "Mar 9 2021,Bread\nMar 17 2021,Milk\n",
    '"March 9, 2021",Bread\n"March 17, 2021",Milk\n',
    "20210309,Bread\n20210317,Milk\n",
    "2021-03-09T10:11:12Z,Bread\n2021-03-17T10:11:12Z,Milk\n",
    "2021-03-09 10:11:12+02,Bread\n2021-03-17 10:11:12+02,Milk\n",
    "2021-03,Bread\n2021-04,Milk\n",
    "10:30,Bread\n11:45,Milk\n",
    "10:30 am,Bread\n11:45 pm,Milk\n",
    "01:02:03.456,Bread\n01:02:04.000,Milk\n",
    "5,Bread\n6,Milk\n",
    "-5.25,Bread\n6.00,Milk\n",
    "Bread;3,20\nMilk;4,95\n",
    "Bread;1.450,00\nMilk;32,00\n",
    "Bread;1 450,00\nMilk;32,00\n",
    "Bread;1'450.00\nMilk;32.00\n",
    'Bread,"$1,450.00"\nMilk,$32.00\n',
    "Bread,€32\nMilk,€3\n",
    "Bread,32 EUR\nMilk,3 EUR\n",
    "Bread,USD 32\nMilk,USD 3\n",
    "Bread,32 %\nMilk,3 %\n",
    "Bread,(32.00)\nMilk,3.00\n",
    "Bread,1e5\nMilk,2e5\n",
    "Bread,NaN\nMilk,1.5\n",
    "anna@example.com,Anna\nbob@example.org,Bob\n",
    "https://example.com/a,Anna\nhttps://example.com/b,Bob\n",
    "www.example.com,Anna\nwww.example.org,Bob\n",
    "192.168.0.1,up\n192.168.0.2,down\n",
    "fe80::1,up\nfe80::2,down\n",
    "00:1b:44:11:3a:b7,up\n00:1b:44:11:3a:b8,down\n",
    "+49 30 1234567,Anna\n+49 89 7654321,Bob\n",
    "(030) 123-4567,Anna\n(089) 765-4321,Bob\n",
    "6fa459ea-ee8a-3ca4-894e-db77e160355e,Anna\n16fd2706-8baf-433b-82eb-8c7fada847da,Bob\n",
    "d41d8cd98f00b204e9800998ecf8427e,Anna\n9e107d9d372bb6826bd81d3542a419d6,Bob\n",
    "true,Anna\nfalse,Bob\n",
    "Anna,yes\nBob,no\n",
    "Anna,Y\nBob,N\n",
    "Anna,t\nBob,f\n",
    "Anna,\nBob,Paris\n",
    "Anna,NULL\nBob,5\n",
    "Anna,n/a\nBob,5\n",
    "Anna,-\nBob,5\n",
    "Anna,\\N\nBob,5\n",
    "Anna,Berlin\nBob,Paris\n",
    "Anna,Berlin\nBob,Berlin\nAnna,Rome\n",
    "red,Bread\nblue,Milk\nred,Salt\n",
    "XK-104,Bread\nXL-207,Milk\n",
    "A1,Bread\nB2,Milk\n",
    "12345,67890\n23456,78901\n",
    "Anna,Anna\nBob,Cole\n",
    "52.52 13.40,Berlin\n48.85 2.35,Paris\n",
    '"{""a"": 1}",Bread\n"{""a"": 2}",Milk\n',
    "/var/log/syslog,Anna\n/var/log/messages,Bob\n",
    "0x1F,Anna\n0x2A,Bob\n",
    "Anna Berg,Senior Engineer\nBob Cole,Baker\n",
    "Anna,Berlin\n",
]


@pytest.mark.parametrize("text", HEADERS)
def test_names_are_a_header(yard: Yard, text: str) -> None:
    plan = yard.plan_import(text)
    assert plan.file.start > 0, plan.detected
    assert "; header: yes" in plan.detected


@pytest.mark.parametrize("text", RECORDS)
def test_values_are_a_record(yard: Yard, text: str) -> None:
    plan = yard.plan_import(text)
    assert plan.file.start == 0, plan.detected
    assert [column.source for column in plan.columns][:1] == ["column1"]
    assert "; header: no" in plan.detected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Anna,Berlin\nBob,Paris\n",
            "header: no (in doubt: all columns are text; --header to override)",
        ),
        ("area,2018,2020\nnorth,4,7\n", "header: no (in doubt: '2018' is not a name; --header to override)"),
        ("abc,def\nghi,jkl\n", "header: yes (in doubt: all columns are text; --no-header to override)"),
        ("id,name\n", "header: yes (in doubt: there is no record to compare it with; --no-header to override)"),
        ("5,Bread\n6,Milk\n", "header: no;"),
        ("id,name\n5,Bread\n", "header: yes;"),
    ],
)
def test_doubt_is_told_with_the_option_that_ends_it(yard: Yard, text: str, words: str) -> None:
    assert words in yard.plan_import(text).detected


@pytest.mark.parametrize("text", ["Anna,Berlin\nBob,Paris\n", "id,name\n1,Jo\n"])
@pytest.mark.parametrize("header", [Header.PRESENT, Header.ABSENT])
def test_what_the_spec_says_is_not_questioned(yard: Yard, text: str, header: Header) -> None:
    plan = yard.plan_import(text, csv=CsvFormat(header=header))
    assert (plan.file.start > 0) is (header is Header.PRESENT)
    assert "in doubt" not in plan.detected
