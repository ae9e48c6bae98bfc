"""Keeps a process that moves records from loading pandas, or from looking for it.

pyarrow asks for it with every array that it makes of Python's values. Where it is not there, that is a search through all
directories for modules, 0.06 ms each; where it is, it takes 0.3 s and 50 MB. Nothing here has a use for it.
"""

import sys

sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]
