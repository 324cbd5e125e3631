"""What bending costs: benchmark scores and the Default's attitude of a model and its adapters, and Table 1 of them."""
