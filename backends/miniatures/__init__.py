"""Small text-to-image models that ship with the app, and the synthetic world they are trained on.

Importing this package, `world`, `defaults` or `__main__` loads neither torch nor diffusers.

- `world`: scenes and their pictures, captions, recognition of what a picture shows, the rule-based
  score, Canny edges.
- `defaults`: the sampling settings of each family, the same as in the catalogue.
- `training.text`: tokenizers and text encoders (CLIP, T5, byte-pair encoding), attribute probes.
- `training.codecs`: the continuous autoencoder, the codebook of picture tokens, decoders.
- `training.models`: one module for each family, and ControlNet and CLIP; a family has `train`,
  `refine`, `extend` and `finetune_on_reward`.
- `training.finetuning`: continual learning and reward fine-tuning from committed weights.
- `training.loop`: optimizer, precision, data, checkpoints, export.
- `training.evaluation`: sampling from the exported folders and scoring.
"""
