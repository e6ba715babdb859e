"""The DICOM side: receive, keep, ship."""
