"""What can be wrong with the files of a data set."""

from __future__ import annotations


class DataError(Exception):
    """A data set cannot be loaded; the message names the folder and the files.

    DataError
      DataMissing     files are not there, or too few: put them there
      DataCorrupt     a file is not what it must be: replace or remove it
      DownloadFailed  files are not there, and did not come: try again, or put them there
    """


class DataMissing(DataError):
    """Files that must be there are not."""


class DataCorrupt(DataError):
    """A file is cut short, or another one than its name says."""


class DownloadFailed(DataError):
    """Files could not be downloaded; the message says why, with every address that was tried."""
