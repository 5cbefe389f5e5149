"""Early classification of UCR and UEA sets, beside peers of that field."""
