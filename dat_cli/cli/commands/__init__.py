"""Commands that are not LightningCLIs: one file each, without torch at import."""
