"""Tables, figures and the page of a sweep: reads records and nothing else. No torch; matplotlib only to draw."""
