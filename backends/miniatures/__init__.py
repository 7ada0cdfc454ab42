"""Small text-to-image models that ship with the app, and the world they are trained on.

Importing this package, or its world, captions and checks, needs neither torch nor diffusers.

- The world: `world` (scenes and their pictures), `shapes`, `textures`, `captions`.
- Judging by rule: `sight` (what is on a picture), `check` (is it what was asked for), `edges`.
- Reading: `text` (CLIP), `reader` (T5), `vocabulary` (Llama); `clip` scores pictures.
- Codes: `autoencoder`, `pieces`, `tokens`, `factors`, `decoder`, `preview`.
- Families: `diffusion` and its `controlnet`, `masked`, `discrete` and its `mask_and_replace`,
  `autoregressive`, `cascade`; a family has `train`, `refine`, `widen` and `practise`.
- How all of them learn: `training` (with `muon`, `precision`), `data`, `lessons`, `widening`,
  `practice`, `export`.
- Measuring: `drawing`, `score`, `table`, with the `defaults` that the catalogue has, too.
"""
