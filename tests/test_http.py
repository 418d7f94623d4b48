"""The door over HTTP: what is asked, what is answered, and what is refused."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from places import either, urls

from scheduler import Client
from scheduler.http import bodies
from scheduler.http.app import App
from scheduler.http.describe import description
from scheduler.http.guard import NoToken, guard_of, token_in
from scheduler.model.definition import ExperimentDefinition
from scheduler.python.session import Place

__all__ = ["either", "urls"]

HOST = "127.0.0.1:8321"
TOKEN = "t" * 43
SPACE = [{"name": "x", "type": "range", "bounds": [0.0, 1.0]}]
WRITTEN = {
    "name": "e",
    "parameters": SPACE,
    "objective": "-loss",
    "generation_strategy": {"nodes": [{"generator": "sobol"}]},
    "trials": {"total_trials": 20, "max_pending_trials": 10},
}
KEY = {"Idempotency-Key": "one-request"}


class Asker:
    """Asks an application as a server would."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, method, path, body=None, *, raw=None, query="", **headers):
        """Return the status, the headers and the object that is answered."""
        sent = {"Host": HOST, "Authorization": f"Bearer {TOKEN}", **headers}
        data = json.dumps(body).encode() if raw is None else raw
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": sent.pop("Content-Type", "application/json"),
            "wsgi.input": io.BytesIO(data),
        }
        for name, value in sent.items():
            if value is not None:
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        said = []
        answer = b"".join(self.app(environ, lambda *told: said.extend(told)))
        return int(said[0].split()[0]), dict(said[1]), json.loads(answer)


def app_of(url: str, **options) -> App:
    place = Place(url)
    names = [HOST, "localhost:8321"]
    return App(place, guard_of(names, ["tune.example.org"], TOKEN), **options)


@pytest.fixture
def app(either):
    made = app_of(either)
    yield made
    made._place.close()


@pytest.fixture
def ask(app):
    return Asker(app)


@pytest.fixture
def begun(ask):
    """The same, where there is an experiment."""
    status, _, told = ask("POST", "/v1/experiments", WRITTEN)
    assert (status, told["status"]) == (201, "RUNNING")
    return ask


def run_through(ask) -> list[float]:
    """Carry out three trials; return their points."""
    found = []
    for _ in range(3):
        status, _, trial = ask("POST", "/v1/experiments/e/trials/next", {})
        assert (status, trial["status"]) == (201, "RUNNING")
        found.append(trial["arms"][0]["parameters"]["x"])
        path = f"/v1/experiments/e/trials/{trial['index']}/complete"
        status, _, trial = ask("POST", path, {"data": [found[-1], 0.0]})
        assert (status, trial["status"]) == (200, "COMPLETED")
    return found


# -- what is asked


def test_trials_are_handed_out_and_completed_as_the_client_does_it(
    begun, urls, tmp_path, monkeypatch
):
    points = run_through(begun)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with Client(urls("other/s")) as other:
        other.configure_experiment(SPACE, name="e")
        other.configure_optimization("-loss")
        other.configure(**{k: WRITTEN[k] for k in ("generation_strategy", "trials")})
        for point in points:
            parameters, index = other.get_next_trial()
            assert parameters["x"] == point
            other.complete_trial(index, (point, 0.0))
        best = other.get_best_parameterization(use_model_predictions=False)
    status, _, told = begun("GET", "/v1/experiments/e/best", query="model=false")
    assert (status, told["parameters"], told["trial_index"]) == (200, best[0], best[2])
    assert told["metrics"]["loss"] == {"mean": min(points), "sem": 0.0}


def test_lists_come_in_pages(begun):
    run_through(begun)
    at = "/v1/experiments/e/trials"
    _, _, first = begun("GET", at, query="limit=2")
    _, _, second = begun("GET", at, query=f"offset={first['next']}&limit=2")
    assert [t["index"] for t in first["trials"] + second["trials"]] == [0, 1, 2]
    assert second["next"] is None
    assert begun("GET", at, query="status=RUNNING")[2]["trials"] == []
    begun("POST", "/v1/experiments", WRITTEN | {"name": "f"})
    _, _, first = begun("GET", "/v1/experiments", query="limit=1")
    assert first == {"experiments": [{"name": "e", "status": "RUNNING"}], "next": 1}
    for query in ("limit=501", "limit=0", "offset=-1", "strange=1", f"offset={2**53 + 1}"):
        assert begun("GET", at, query=query)[0] == 422
    for query in ("limit=1&limit=2", "limit", "=&"):
        assert begun("GET", at, query=query)[0] in (400, 422)


def test_a_trial_may_be_attached_recorded_failed_abandoned_and_stopped(begun):
    at = "/v1/experiments/e/trials"
    for index, (verb, status) in enumerate(
        [("fail", "FAILED"), ("abandon", "ABANDONED"), ("stop-early", "EARLY_STOPPED")]
    ):
        _, _, told = begun("POST", at, {"parameters": {"x": 0.1 * index}, "arm_name": f"a{index}"})
        assert (told["index"], told["arms"][0]["name"]) == (index, f"a{index}")
        assert begun("POST", f"{at}/{index}/data", {"data": {"loss": 1}})[0] == 200
        _, _, told = begun("POST", f"{at}/{index}/{verb}", {"reason": "so"})
        assert told["status"] == status
    _, _, told = begun("GET", "/v1/experiments/e")
    assert told["finished"] == {"FAILED": 1, "ABANDONED": 1, "EARLY_STOPPED": 1}


def test_the_definition_that_is_shown_may_be_given_again(begun):
    _, _, told = begun("GET", "/v1/experiments/e")
    assert begun("POST", "/v1/experiments", told["definition"])[0] == 201
    other = WRITTEN | {"objective": "loss"}
    status, _, told = begun("POST", "/v1/experiments", other)
    assert (status, told["title"]) == (422, "UserInputError")


# -- no trial is lost


def test_the_same_request_is_handed_the_same_trial(begun, either):
    at = "/v1/experiments/e/trials/next"
    first = begun("POST", at, {}, **KEY)[2]
    assert begun("POST", at, {}, **KEY)[2] == first
    assert begun("POST", at, {})[2]["index"] == 1
    again = Asker(app_of(either))  # another server, after a crash of this one
    assert again("POST", at, {}, **KEY)[2] == first
    assert again("POST", at, {}, **{"Idempotency-Key": "another-one"})[2]["index"] == 2
    again.app._place.close()


def test_a_request_is_told_of_its_trial_whatever_became_of_it(begun):
    begun("POST", "/v1/experiments/e/trials/next", {}, **KEY)
    begun("POST", "/v1/experiments/e/trials/0/complete", {"data": 1})
    told = begun("POST", "/v1/experiments/e/trials/next", {}, **KEY)[2]
    assert (told["index"], told["status"]) == (0, "COMPLETED")


def test_what_was_told_by_a_request_is_noted_once(begun):
    at = "/v1/experiments/e/trials"
    attach = {"parameters": {"x": 0.25}, "arm_name": "mine"}
    first = begun("POST", at, attach, **KEY)
    assert begun("POST", at, attach, **KEY) == first
    for _ in range(2):
        assert begun("POST", f"{at}/0/data", {"data": 5}, **KEY)[0] == 200
    begun("POST", f"{at}/0/data", {"data": 3})
    for _ in range(2):
        status, _, told = begun("POST", f"{at}/0/complete", {}, **KEY)
        assert (status, told["arms"][0]["metrics"]["loss"]["mean"]) == (200, 3.0)
    assert begun("POST", f"{at}/0/complete", {"data": 1})[0] == 422
    assert len(begun("GET", at)[2]["trials"]) == 1


def test_an_arm_that_was_added_before_a_crash_is_handed_out_by_its_request(begun, app):
    from scheduler.model.experiment import Ask

    with Client(app._place) as client:
        client.load_experiment("e")
        outside = client.session.outside
        outside.request = KEY["Idempotency-Key"]
        payload = {"parameters": {"x": 0.25}, "name": None}
        assert outside.tell(Ask("add-arm", payload=payload), 1.0)
    told = begun("POST", "/v1/experiments/e/trials", {"parameters": {"x": 0.25}}, **KEY)[2]
    assert (told["index"], told["status"]) == (0, "RUNNING")
    assert len(begun("GET", "/v1/experiments/e/trials")[2]["trials"]) == 1


def test_many_at_once_have_trials_of_their_own(begun):
    def one(number: int):
        key = {"Idempotency-Key": f"request-{number // 2}"}
        return begun("POST", "/v1/experiments/e/trials/next", {}, **key)[2]["index"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(12)))
    assert found[::2] == found[1::2]
    assert sorted(found[::2]) == list(range(6))


def test_who_waits_too_long_is_told_to_ask_again(begun, app):
    kept = app._kept_of("e")
    app._patience = 0.01
    kept.lock.acquire()
    status, headers, told = begun("POST", "/v1/experiments/e/trials/next", {}, **KEY)
    assert (status, headers["Retry-After"], told["title"]) == (503, "2", "Busy")
    assert begun("GET", "/v1/experiments/e/trials")[0] == 200
    kept.lock.release()
    app._patience = 60.0
    told = begun("POST", "/v1/experiments/e/trials/next", {}, **KEY)[2]
    assert told["index"] == 0
    assert len(begun("GET", "/v1/experiments/e/trials")[2]["trials"]) == 1


# -- who may ask


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (HOST, 200),
        ("LOCALHOST:8321", 200),
        ("tune.example.org", 200),
        (None, 400),
        ("", 400),
        (f"{HOST}, {HOST}", 400),
        (f"{HOST},evil.example", 400),
        ("evil.example:8321", 421),
        ("127.0.0.1", 421),
        ("127.0.0.1:8322", 421),
        (f"{HOST}.evil.example", 421),
        (f" {HOST}", 421),
        ("0.0.0.0:8321", 421),
    ],
)
def test_the_host_is_exactly_one_of_ours(ask, host, status):
    assert ask("GET", "/v1/experiments", Host=host)[0] == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 201),
        (f"http://{HOST}", 201),
        ("https://tune.example.org", 201),
        ("http://tune.example.org", 403),
        (f"https://{HOST}", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_page_of_another_origin_changes_nothing(ask, origin, status):
    assert ask("POST", "/v1/experiments", WRITTEN, Origin=origin)[0] == status
    names = [e["name"] for e in ask("GET", "/v1/experiments")[2]["experiments"]]
    assert names == (["e"] if status == 201 else [])


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        TOKEN,
        f"Bearer {TOKEN[1:]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        "Bearer ",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
    ],
)
@pytest.mark.parametrize("path", ["/v1/experiments", "/v1/openapi.json", "/nothing"])
def test_without_the_token_nothing_is_told(ask, said, path):
    status, headers, told = ask("GET", path, Authorization=said)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert TOKEN[:20] not in json.dumps(told)


def test_every_answer_has_the_headers_that_keep_browsers_out(ask):
    for method, path in [
        ("GET", "/v1/experiments"),
        ("GET", "/nothing"),
        ("OPTIONS", "/v1/experiments"),
        ("DELETE", "/v1/experiments"),
    ]:
        status, headers, told = ask(method, path, Origin=f"http://{HOST}")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert not [name for name in headers if name.startswith("Access-Control")]
        assert status == told.get("status", 200)
    assert headers["Allow"] == "GET, POST"
    assert headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/experiments/../../etc/passwd",
        "/v1/experiments/..",
        "/v1/experiments/e/trials/../1",
        "/v1/experiments/e\0/trials",
        "/v1/experiments/E/trials",
        "/v1/experiments/e/trials/-1",
        "/v1/experiments/e/trials/1e3",
        "/v1/experiments/e/trials/٣",
        "/v1/experiments/e/trials/9999999999",
        "/v1/experiments/e\n",
        "/v1/experiments/" + "e" * 41,
        "//v1/experiments",
        "/v1/experiments/",
        "",
    ],
)
def test_paths_name_experiments_and_trials_alone(begun, path):
    assert begun("GET", path)[2]["title"] == "NotFound"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"runner": {"type": "local", "command": ["touch", "x"]}}, "runner"),
        ({"runner": {"type": "external", "trials_dir": "/tmp"}}, "runner"),
        ({"metrics": {"loss": {"fetcher": {"type": "command", "command": ["x"]}}}}, "fetcher"),
        ({"metrics": {"loss": {"fetcher": {"type": "csv", "path": "/etc/passwd"}}}}, "fetcher"),
        ({"notifications": [{"command": ["x"], "topics": ["completed"]}]}, "notifications"),
        ({"warm_start": [{"csv": "/etc/passwd"}]}, "warm_start"),
        ({"storage": "sqlite:////tmp/x.db"}, "storage"),
        ({"logs": {"retain": "1d"}}, "logs"),
        ({"strange": 1}, "strange"),
        ({"parameters": []}, "parameters"),
        ({"name": "../x"}, "name"),
    ],
)
def test_no_experiment_starts_programs_or_names_files(ask, change, why):
    status, _, told = ask("POST", "/v1/experiments", WRITTEN | change)
    assert (status, told["title"]) == (422, "UserInputError")
    assert why in told["detail"]
    assert ask("GET", "/v1/experiments")[2]["experiments"] == []


def test_each_key_of_a_file_is_known_here_as_harmless_or_not():
    refused = {"storage", "warm_start", "missing_metrics", "runner", "polling", "on_resume"}
    refused |= {"logs", "notifications"}
    fields = {f.alias or name for name, f in ExperimentDefinition.model_fields.items()}
    assert fields == refused | set(bodies.KEYS)


def test_what_other_experiments_keep_secret_is_not_shown(ask, app):
    from scheduler.config.load import load_data

    secret = "canary-4711"
    written = WRITTEN | {
        "runner": {"command": ["true", secret], "env": {"KEY": secret}},
        "metrics": {"loss": {"fetcher": {"type": "command", "command": ["cat", secret]}}},
    }
    with Client(app._place) as client:
        client.session.submit(load_data(written))
    for path in ("/v1/experiments", "/v1/experiments/e", "/v1/experiments/e/trials"):
        status, _, told = ask("GET", path)
        assert status == 200
        assert secret not in json.dumps(told)
    status, _, told = ask("POST", "/v1/experiments/e/trials/next", {})
    assert (status, "carried out by its runner" in told["detail"]) == (422, True)


# -- what cannot be read


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"[" * 100_000, 422),
        (b'{"data": NaN}', 422),
        (b'{"data": 1e999}', 422),
        (b'{"data": true}', 422),
        (b'{"data": "1"}', 422),
        (b'{"data": {"loss": [1, 2, 3]}}', 422),
        (b'{"data": {"loss": [1, -2]}}', 422),
        (b'{"data": {"los": 1}}', 422),
        (b'{"data": 1, "more": 2}', 422),
        (b'\xff{"data": 1}', 422),
        (b'{"data": 1}' + b" " * (1 << 20), 413),
    ],
)
def test_what_is_no_result_is_refused_in_one_sentence(begun, raw, status):
    begun("POST", "/v1/experiments/e/trials/next", {})
    found, _, told = begun("POST", "/v1/experiments/e/trials/0/complete", raw=raw)
    assert found == told["status"] == status
    assert told["detail"]
    assert "\n" not in told["detail"]
    assert begun("GET", "/v1/experiments/e/trials/0")[2]["status"] == "RUNNING"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"[" * 100_000, b'{"name": NaN}', b"\xff"])
def test_what_is_no_experiment_is_refused_too(ask, raw):
    assert ask("POST", "/v1/experiments", raw=raw)[0] == 422


def test_other_kinds_of_bodies_and_keys_are_refused(begun):
    at = "/v1/experiments/e/trials/next"
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert begun("POST", at, {}, **{"Content-Type": kind})[0] == 415
    for key in ("", "short", "x" * 65, "sp ace123", 'quo"te123', "two-keys-1, two-keys-2"):
        assert begun("POST", at, {}, **{"Idempotency-Key": key})[0] == 422
    assert begun("GET", "/v1/experiments/e/trials")[2]["trials"] == []


def test_a_bug_is_told_without_its_traceback(ask, app, monkeypatch, capsys):
    def broken() -> None:
        raise RuntimeError("the secret of /home/somebody")

    monkeypatch.setattr(app._place.store, "names", broken)
    status, _, told = ask("GET", "/v1/experiments")
    assert (status, told["title"]) == (500, "Bug")
    assert "secret" not in json.dumps(told)
    assert "RuntimeError: the secret" in capsys.readouterr().err


# -- the token's file, and the description


def test_a_token_is_made_once_and_is_its_owners_alone(tmp_path):
    path = tmp_path / "token"
    token = token_in(path)
    assert len(token) == 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_in(path) == token != token_in(tmp_path / "other")
    path.chmod(0o640)
    with pytest.raises(NoToken, match="can be read by others"):
        token_in(path)
    path.chmod(0o600)
    path.write_text("guessable\n")
    with pytest.raises(NoToken, match="holds no token of 43"):
        token_in(path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic link"):
        token_in(link)
    with pytest.raises(NoToken, match="no file of yours"):
        token_in(tmp_path)


def test_the_description_is_whole():
    said = description("1", with_token=True)
    text = json.dumps(said)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in said["components"]["schemas"]
    assert "$defs" not in text
    assert said["security"] == [{"token": []}]
    assert "security" not in description("1", with_token=False)
    keys = said["components"]["schemas"]["NewExperiment"]["properties"]
    assert set(keys) == {*bodies.KEYS, "runner"}
    assert "FetcherSpec" not in said["components"]["schemas"]
    names = [o["operationId"] for path in said["paths"].values() for o in path.values()]
    assert len(names) == len(set(names)) == 15
