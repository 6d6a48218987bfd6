"""Without privilege, without a clock: values in, values out."""
