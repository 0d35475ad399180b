"""Offline studies of selection rules: query by committee over labelled sets, pools from materials databases."""
