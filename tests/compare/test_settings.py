from decimal import Decimal
from pathlib import Path

import pytest

from compare.settings import Settings, SettingsError

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINEUP_ENV_FILE", ".env")
    for name in ("LINEUP_HOME", "LINEUP_HOURLY_RATE", "LINEUP_DAILY_BUDGET", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_defaults():
    settings = Settings.read()
    assert settings.home == Path("data")
    assert settings.hourly_rate is None
    assert settings.value("OPENAI_API_KEY") is None


def test_dotenv_is_read_and_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch):
    Path(".env").write_text(f"LINEUP_HOME=there\nOPENAI_API_KEY={KEY}\nEMPTY=\n")
    assert Settings.read().home == Path("there")
    assert Settings.read().value("OPENAI_API_KEY") == KEY
    assert Settings.read().value("EMPTY") is None
    monkeypatch.setenv("LINEUP_HOME", "elsewhere")
    monkeypatch.setenv("LINEUP_HOURLY_RATE", "0.35")
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    settings = Settings.read()
    assert settings.home == Path("elsewhere")
    assert settings.hourly_rate == Decimal("0.35")
    assert settings.value("OPENAI_API_KEY") == "other"


def test_dotenv_is_that_beside_the_app_and_no_other(monkeypatch: pytest.MonkeyPatch):
    """The working directory may hold the `.env` of another project."""
    monkeypatch.delenv("LINEUP_ENV_FILE")
    Path(".env").write_text(f"LINEUP_HOME=there\nANOTHERS_API_KEY={KEY}\n")
    settings = Settings.read()
    assert settings.home != Path("there")
    assert settings.value("ANOTHERS_API_KEY") is None


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_a_setting_are_taken_off(monkeypatch: pytest.MonkeyPatch, quote: str):
    monkeypatch.setenv("LINEUP_HOME", f"{quote}there{quote}")
    monkeypatch.setenv("LINEUP_DAILY_BUDGET", f"{quote}2.50{quote} ")
    settings = Settings.read()
    assert (settings.home, settings.daily_budget) == (Path("there"), Decimal("2.50"))


def test_an_empty_setting_is_unset(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LINEUP_HOME", "")
    monkeypatch.setenv("LINEUP_HOURLY_RATE", "")
    assert Settings.read().home == Path("data")
    assert Settings.read().hourly_rate is None


def test_no_key_shows(monkeypatch: pytest.MonkeyPatch):
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    monkeypatch.setenv("HF_TOKEN", "hf_another_secret")
    settings = Settings.read()
    shown = f"{settings!r} {settings} {settings.config()!r} {settings.model_dump()}"
    assert KEY not in shown and "hf_another" not in shown
    assert settings.hide(f"401 for {KEY}, hf_another_secret") == "401 for [hidden], [hidden]"


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("A1111_URL", "http://user:pass-word-1@host:7860", "pass-word-1"),
        ("A1111_URL", "http://user:pass%2Fword%2F1@host", "pass/word/1"),
        ("A1111_URL", "http://user:pass/word@1@host", "pass/word@1"),
        ("COMFYUI_URL", "https://ghp_onlyatoken99@host/", "ghp_onlyatoken99"),
        ("OPENAI_SERVERS", "a=http://h/v1 m, b=https://u:second-pass@h/v1", "second-pass"),
        ("OPENAI_BASE_URL", "https://h/v1?api_key=in-the-query-7&x=1", "in-the-query-7"),
        ("HTTPS_PROXY", "http://user:of-the-proxy-3@proxy:3128", "of-the-proxy-3"),
        ("DATABASE_URL", "postgresql+psycopg://lineup:of-the-base@db/lineup", "of-the-base"),
        ("SMTP_PASS", "of-another-program", "of-another-program"),
    ],
)
def test_keys_within_addresses_and_of_other_programs_are_hidden(
    name: str, value: str, key: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, value)
    assert key not in Settings.read().hide(f"no answer of {key}, {value}")


def test_a_key_of_the_file_is_hidden_though_another_is_used(monkeypatch: pytest.MonkeyPatch):
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    shown = Settings.read().hide(f"{KEY} sk-of-the-environment")
    assert shown == "[hidden] [hidden]"


def test_the_place_of_a_key_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN_PATH", "/home/me/.cache/huggingface/token")
    sentence = "Hugging Face has no huggingface token."
    assert Settings.read().hide(sentence) == sentence


@pytest.mark.parametrize("rate", ["much", "-1", "nan"])
def test_nonsense_is_named_without_its_value(rate: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LINEUP_HOURLY_RATE", rate)
    with pytest.raises(SettingsError, match="LINEUP_HOURLY_RATE") as caught:
        Settings.read()
    assert rate not in str(caught.value).removeprefix("The setting LINEUP_HOURLY_RATE")


def test_visitors_do_not_hold_the_owners_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    public = Settings.read().for_visitors()
    assert public.value("OPENAI_API_KEY") is None
    assert public.config().value("OPENAI_API_KEY") is None
    assert public.value("OPENAI_BASE_URL") == "http://127.0.0.1:1/v1"
    assert public.hide(KEY) == "[hidden]"


def test_the_owner_may_share_the_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("LINEUP_SHARE_KEYS", "1")
    with pytest.raises(SettingsError, match="LINEUP_DAILY_BUDGET"):
        Settings.read().for_visitors()
    monkeypatch.setenv("LINEUP_DAILY_BUDGET", "2.50")
    assert Settings.read().for_visitors().value("OPENAI_API_KEY") == KEY
