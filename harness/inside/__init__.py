"""The only code that runs in verl's processes, and the only importer of verl, torch and ray."""
