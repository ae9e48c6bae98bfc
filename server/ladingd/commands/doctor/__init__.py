"""``ladingd doctor``: looks at everything a daemon needs and changes nothing, whether one runs or not."""
