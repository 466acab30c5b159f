"""All-in-One Restoration Workbook: the library that the lessons draw on."""

__version__ = "0.1.0"
