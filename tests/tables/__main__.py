"""`make tables`: write docs/guide/tables.md."""

from tests.tables.page import PAGE, page

PAGE.write_text(page())
