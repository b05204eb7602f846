"""Training: the LightningModule of each task, its optimizer, and the callbacks that keep a run."""
