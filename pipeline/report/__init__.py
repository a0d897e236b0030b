"""The page that shows the clips, the verdict, the model and the data of a run."""
