"""Reports as documents, HTML and Markdown, and the style of their figures."""
