"""``ladingd doctor``: checks everything that a daemon needs and changes nothing, whether a daemon runs or not."""
