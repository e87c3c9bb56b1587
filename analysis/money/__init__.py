"""What requests and servers cost, and when one is cheaper than the other: exact decimals, dated prices."""
