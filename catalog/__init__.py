"""What is known: people, studies, results, items, prices, decisions. No HTTP, no DICOM network."""
