"""`make oracle`: the truth about a small space from its sweep's runs, and where the cells that searches find stand in it."""

import sys

from advarch.errors import InputError
from tests.oracle.page import PAGE, page
from tests.oracle.table import collected, write

try:
    write(collected(*sys.argv[1:]))
except InputError as error:
    print(f"the table stays as it is: {error}", file=sys.stderr)
try:
    PAGE.write_text(page())
except InputError as error:
    sys.exit(str(error))
