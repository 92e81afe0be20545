"""Exit codes of the command (sysexits.h where it has one)."""

OK = 0
FAILURE = 1
USAGE = 2
NO_CAMERA = 66
UNREACHABLE = 69
CANNOT_WRITE = 73
TRY_LATER = 75
PERMISSION = 77
CONFIG = 78
