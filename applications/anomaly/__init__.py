"""Maps of what is unusual in an image, and scores of whole images: `python -m applications.anomaly --help`."""
