"""A hook of mkdocs: the site has the repository's layout, so that links work in both places.

mkdocs knows one folder of documents. Here pages also lie beside it (README, CONTRIBUTING, ...), and links between them
are paths in the repository.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "artifacts/ablation.md")
FOLDERS = ("artifacts/plots",)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the documents into docs/, and what lies beside that folder where it lies in the repository."""
    root = Path(config.config_file_path).parent

    def file(path: Path) -> File:
        return File(path.relative_to(root).as_posix(), str(root), config.site_dir, config.use_directory_urls)

    for document in [f for f in files if f.src_dir == config.docs_dir]:
        files.remove(document)
        files.append(file(Path(config.docs_dir, document.src_uri)))
    for path in [*(root / page for page in PAGES), *(p for f in FOLDERS for p in sorted((root / f).iterdir()))]:
        files.append(file(path))
    return files
