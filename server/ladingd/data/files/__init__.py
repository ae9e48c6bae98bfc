"""Files: roots, fingerprints, uploads and downloads."""
