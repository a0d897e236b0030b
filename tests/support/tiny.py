"""The smallest training that is still the real one."""

from trainer.settings import TrainSettings

TINY = TrainSettings(
    head="mse",
    dropout=0.1,
    input_noise=0.1,
    learning_rate=4e-3,
    weight_decay=0.0,
    units=12,
    n_layers=2,
    window_frames=64,
    batch_windows=4,
    steps=12,
    eval_every=6,
    primer_frames=16,
    strategy="cpu",
)
