"""`python -m docs.gen`: write every generated page of the documentation anew."""

from docs.gen.pages import DOCS, PAGES


def main() -> None:
    """Write what differs, and say so."""
    for name, render in PAGES.items():
        path, text = DOCS / name, render()
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"docs/{name}: written")


if __name__ == "__main__":
    main()
