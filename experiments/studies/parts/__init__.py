"""Parts of studies, none of them a study: data and models that several share, and the claims of the two longest."""
