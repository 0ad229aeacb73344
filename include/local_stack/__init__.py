"""The whole system on one machine without containers: its services, and the commands around them."""
