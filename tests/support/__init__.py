"""What tests share: paths, small structures and campaigns, services on the loopback address."""
