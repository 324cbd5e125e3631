"""The job of train.py: questions, answers of partisans, and an adapter that is fine-tuned on them."""
