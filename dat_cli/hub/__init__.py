"""The Hugging Face Hub: names, downloads and uploads, with its errors in our words. Nothing here imports torch."""
