"""The page's script: sort and filter each listing, open a run from its row. Without it the page shows the same, unsorted."""

import base64
import hashlib

SCRIPT = """
(() => {
  const wire = (listing) => {
    const table = listing.querySelector("table");
    const controls = listing.querySelector(".controls");
    if (!table || !controls) return;
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const keys = new Map(rows.map((row, i) => [row, [...JSON.parse(row.dataset.keys), i]]));
    const heads = [...table.tHead.rows[0].cells];

    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    const sort = (column, sign) => {
      rows.sort((p, q) => {
        const a = keys.get(p), b = keys.get(q);
        if (a[column] === null || b[column] === null) {
          // A row without a number comes last, whichever way the others go.
          if (a[column] !== b[column]) return a[column] === null ? 1 : -1;
        } else {
          const order = compare(a[column], b[column]);
          if (order) return sign * order;
        }
        return a[a.length - 1] - b[b.length - 1];
      });
      body.append(...rows);
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("num") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const next = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", next);
        sort(column, next === "ascending" ? 1 : -1);
      });
    });

    const text = controls.querySelector("input");
    const which = controls.querySelector("select");
    const shown = controls.querySelector("output");
    const filter = () => {
      const words = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        const content = row.textContent.toLowerCase();
        const right = !which || !which.value || row.dataset.checkpoint === which.value;
        row.hidden = !(right && words.every((word) => content.includes(word)));
        count += row.hidden ? 0 : 1;
      }
      shown.textContent = count + " of " + rows.length + " rows";
    };
    text.addEventListener("input", filter);
    if (which) which.addEventListener("change", filter);
    filter();
    controls.hidden = false;
  };
  document.querySelectorAll(".listing").forEach(wire);

  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[href^='#']");
    if (link) setTimeout(open);
  });
  open();
})();
"""


def policy(images: str = "data:") -> str:
    """A content security policy: nothing is fetched but such images, and no script runs but this one, not even one that slipped in."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'"
    return f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; {allowed}; base-uri 'none'; form-action 'none'"
