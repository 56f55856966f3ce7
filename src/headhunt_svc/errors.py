"""Every error that a user can cause or meet, as one tree.

    HeadHuntError                      exit code 2 unless stated
      ConfigError                      params.yaml or an option is wrong
      DatasetError                     annotations and files do not fit
      ArtifactError                    a stage's output is missing, broken or of another model
      ModelError                       the MLLM cannot be used as it is
      FeatureError                     features are constant, non-finite or of one class only
      OutputError                      a result cannot be written (permission, disk full)
      UnreachableError                 a store or database does not answer; may work later
      ServerError                      a service does not answer, or refuses
      UploadError, UriError            (serve) what a request brings or names is no video that may be read
      VideoError                       exit code 3: one input failed, the others are written
        VideoOpenError                 not a video, empty, no picture stream
        VideoDecodeError               pictures could not be decoded
        VideoLimitError                beyond a limit that somebody chose (duration, pixels, codec, memory, ...)

A message is one line: what was found, and the way out.
"""

EXIT_FINE, EXIT_WRONG_USE, EXIT_SOME_FAILED, EXIT_DRIFT = 0, 2, 3, 4


class HeadHuntError(Exception):
    """Base of all errors of this package."""


class ConfigError(HeadHuntError):
    """A parameter or option is wrong."""


class DatasetError(HeadHuntError):
    """Annotations and video files do not fit together."""


class ArtifactError(HeadHuntError):
    """A stage's output is missing, broken, or belongs to another model."""


class ModelError(HeadHuntError):
    """The MLLM cannot be used as it is."""


class FeatureError(HeadHuntError):
    """Features or labels do not allow the computation."""


class OutputError(HeadHuntError):
    """A result cannot be written."""


class UnreachableError(HeadHuntError):
    """A store or database does not answer; may work later."""


class ServerError(HeadHuntError):
    """A service does not answer, or refuses."""


class VideoError(HeadHuntError):
    """One video cannot be processed."""


class VideoOpenError(VideoError):
    """The file holds no pictures that can be read."""


class VideoDecodeError(VideoError):
    """Pictures of a readable file could not be decoded."""


class VideoLimitError(VideoError):
    """A video beyond a limit that somebody chose; the message names the limit."""
