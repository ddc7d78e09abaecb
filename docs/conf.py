"""The Sphinx site of docs/: `make docs` builds it into build/docs, every warning an error."""

from __future__ import annotations

from zatotx import __version__

project = 'zatotx'
author = 'The zatotx developers'
copyright = '2026, the zatotx developers'
version = release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc']
source_suffix = {'.md': 'markdown'}

myst_heading_anchors = 4
myst_enable_extensions = ['colon_fence']

autodoc_member_order = 'bysource'
autodoc_typehints = 'description'

html_theme = 'furo'
html_title = f'zatotx {version}'
html_static_path = ['_static']
html_css_files = ['zatotx.css']
html_show_sphinx = False
html_show_copyright = False
