"""NeuroBench's metrics on our networks, and our account beside."""
