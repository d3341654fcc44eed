"""Sphinx configuration: ``make docs`` builds the site from these pages and the docstrings."""

from stageinteractor import __version__

project = "StageInteractor"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {version}"
html_show_copyright = False
html_copy_source = False
highlight_language = "none"  # commands in the pages carry no language

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # links such as tuning.md#learning-rate

default_role = "py:obj"  # `CrossStageAssigner` in a docstring links to its page
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # nn.Module's own would repeat on every page
autodoc_default_options = {"members": True, "special-members": "__call__"}
autodoc_mock_imports = ["detrex"]  # not on PyPI; everything else is in the extra "dev"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
