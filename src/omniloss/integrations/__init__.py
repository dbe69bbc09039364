"""What ties losses into other libraries' own objects; each file is imported where it is asked for."""
