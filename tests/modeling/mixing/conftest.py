from float32_products import float32_products  # noqa: F401
