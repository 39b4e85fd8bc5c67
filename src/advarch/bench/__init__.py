"""Speed on the machine at hand, beside other public code in the same process: `advarch bench`."""
