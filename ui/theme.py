"""The theme: its colours, and the system's fonts."""

from gradio import themes


def theme() -> themes.Base:
    """Return the theme; it fetches no font over the network."""
    return themes.Base(
        primary_hue=themes.colors.indigo,
        neutral_hue=themes.colors.zinc,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size=themes.sizes.radius_md,
    ).set(
        body_background_fill="#f7f7f5",
        body_background_fill_dark="#141517",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1d1f22",
        body_text_color="#1b1c1e",
        body_text_color_dark="#ececec",
        body_text_color_subdued="#6d7075",
        body_text_color_subdued_dark="#9a9da3",
        border_color_primary="#e4e4e0",
        border_color_primary_dark="#2c2f33",
        color_accent="#3b5bdb",
        button_primary_background_fill="#3b5bdb",
        button_primary_background_fill_dark="#3b5bdb",
        button_primary_background_fill_hover="#364fc7",
        button_primary_background_fill_hover_dark="#4263eb",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#1d1f22",
        button_secondary_border_color="#e4e4e0",
        button_secondary_border_color_dark="#2c2f33",
    )
