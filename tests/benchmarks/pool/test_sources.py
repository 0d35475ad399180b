"""The real clients against services on a loopback port: formats, paging, faults, keys, cache."""

import json
import socket
import sys

import numpy as np
import pytest

from support.loopback_services import KEY, NEW_IDS, Services
from tentpole.benchmarks.pool.sources import PageCache, Query, fetch_mp, fetch_optimade, fetch_oqmd, fetch_table
from tentpole.benchmarks.pool.sources.patience import Patience, ServiceError
from tentpole.errors import InputError

pytestmark = pytest.mark.slow

pytest.importorskip("requests")
QUICK = Patience(tries=4, back_off_s=0.01, timeout_s=10)


@pytest.fixture
def services():
    with Services() as running:
        yield running


@pytest.fixture
def key(monkeypatch):
    pytest.importorskip("mp_api.client")
    monkeypatch.setenv("MP_API_KEY", KEY)


def mp(services, query, cache=None, **more):
    return fetch_mp(query, PageCache(cache), endpoint=services.base, patience=QUICK, **more)


def oqmd(services, query, cache=None, **more):
    return fetch_oqmd(query, PageCache(cache), endpoint=f"{services.base}/oqmdapi", patience=QUICK, **more)


def test_mp_rows_carry_values_structures_and_provenance(services, key):
    pool = mp(services, Query(("Ti", "O")), page=10)
    assert len(pool) == 23
    assert set(NEW_IDS) < set(pool.text("id"))
    assert "mp-110" in pool.text("id")
    assert set(pool.text("database")) == {"mp"}
    assert set(pool.text("version")) == {"2026.04.1"}
    assert set(pool.text("query")) == {"contains Ti, O"}
    assert all(len(date) == 10 for date in pool.text("date"))
    by_id = dict(zip(pool.text("id"), range(23), strict=True))
    row = by_id["mp-110"]
    assert pool.numeric("formation_energy_per_atom")[row] == pytest.approx(-1.5)
    assert pool.numeric("volume_per_atom")[row] == pytest.approx(5.0**3 / 2)
    assert np.isnan(pool.numeric("band_gap")[by_id["mp-104"]])
    assert pool.structures[row].get_chemical_symbols() == ["O", "Ti"]
    assert pool.structures[row].cell.lengths() == pytest.approx([5.0] * 3)


def test_mp_exact_chemical_systems(services, key):
    assert set(mp(services, Query(("Ti", "O"), exact=True)).text("formula")) == {"TiO"}
    assert set(mp(services, Query(("Sr", "Ti"))).text("formula")) == {"SrTiO"}


def test_mp_draws_at_random_by_seed_where_more_match_than_asked(services, key):
    drawn = [mp(services, Query(("Ti", "O"), limit=8), seed=s).text("id") for s in (0, 0, 1)]
    assert len(set(drawn[0])) == 8
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("faults", [[429], [502, 502], [503], [504], ["truncated"], ["truncated", 502, 429]])
def test_faults_of_a_service_are_sat_out(services, key, faults):
    services.faults = list(faults)
    assert len(set(mp(services, Query(("Ti", "O"))).text("id"))) == 23
    assert services.faults == []
    services.faults = list(faults)
    assert len(oqmd(services, Query(("Ti", "O")), page=5)) == 17
    assert services.faults == []


def test_a_heartbeat_that_fails_is_asked_again(services, key):
    services.heartbeat_faults = [502, 502]
    assert len(mp(services, Query(("Ti", "O")))) == 23


def test_a_page_that_comes_twice_gives_no_row_twice_and_loses_none(services, key):
    services.faults = [None, None, "repeated"]
    found = oqmd(services, Query(("Ti", "O")), page=5)
    assert len(set(found.text("id"))) == len(found) == 17
    services.faults = [None, None, None, "repeated"]  # after the count and the list of ids: a page of documents
    found = mp(services, Query(("Ti", "O")), page=5)
    assert len(set(found.text("id"))) == len(found) == 23


def test_an_incomplete_mp_listing_is_noticed(services, key):
    services.documents = services.documents + services.documents[:1]  # total_doc says 24, 23 are distinct
    with pytest.raises(ServiceError, match="24 materials match and lists 23"):
        mp(services, Query(("Ti", "O")))


def test_a_service_that_stays_away_says_what_to_do(services, key):
    services.faults = [502] * 100
    with pytest.raises(ServiceError, match=r"OQMD gave no usable answer in 2 tries.*pages already fetched"):
        oqmd(services, Query(("Ti", "O")))


def test_an_unreachable_service(key):
    with pytest.raises(ServiceError, match="Check the network"):
        fetch_oqmd(
            Query(("Si",)),
            PageCache(None),
            endpoint="http://127.0.0.1:1/oqmdapi",
            patience=Patience(2, 0.01, 1),
        )


def test_a_service_that_takes_the_call_and_says_nothing_is_given_up(key):
    pytest.importorskip("mp_api.client")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for fetch in (fetch_mp, fetch_oqmd):
            with pytest.raises(ServiceError, match=r"Materials Project|OQMD"):
                fetch(Query(("Si",)), PageCache(None), endpoint=base, patience=Patience(1, 0.01, 0.3))


def test_a_wrong_key_is_refused_in_words_and_never_shown(services, monkeypatch, tmp_path, capfd):
    pytest.importorskip("mp_api.client")
    wrong = "wrong0key0wrong0key0wrong0key000"
    monkeypatch.setenv("MP_API_KEY", wrong)
    with pytest.raises(InputError, match="refused the key in MP_API_KEY") as caught:
        mp(services, Query(("Ti", "O")), tmp_path)
    assert wrong not in "".join(everything_said(caught.value)) + "".join(capfd.readouterr())


@pytest.mark.parametrize(("value", "match"), [("", "MP_API_KEY is not set"), ("short", "has 5 characters")])
def test_a_missing_or_impossible_key_is_told_before_any_request(services, monkeypatch, value, match):
    monkeypatch.setenv("MP_API_KEY", value)
    with pytest.raises(InputError, match=match) as caught:
        mp(services, Query(("Ti", "O")))
    assert not value or value not in str(caught.value)
    assert services.requests == []


def test_the_key_is_written_nowhere(services, key, tmp_path, capfd):
    services.faults = ["truncated", 502]
    pool = mp(services, Query(("Ti", "O")), tmp_path / "cache")
    kept = list((tmp_path / "cache").rglob("*.json"))
    assert kept
    assert not any(KEY in path.read_text() for path in kept)
    assert not any(KEY in str(value) for column in pool.columns.values() for value in column)
    assert KEY not in "".join(capfd.readouterr())
    services.faults = ["truncated"] * 50
    with pytest.raises(ServiceError) as caught:
        mp(services, Query(("Sr",)))
    assert KEY not in "".join(everything_said(caught.value))


def test_the_key_does_not_follow_a_redirect_to_another_host(services, key):
    with Services() as other:
        services.redirect_to = other.base
        with pytest.raises((InputError, ServiceError)):
            mp(services, Query(("Ti", "O")), page=10)
        assert other.headers
        assert not [name for headers in other.headers for name in headers if name.lower() == "x-api-key"]
        assert KEY not in str(other.headers)


@pytest.mark.parametrize("endpoint", ["http://api.materialsproject.org/", "ftp://127.0.0.1/", "api.x.org", "http://a/"])
def test_the_key_goes_over_https_alone(key, endpoint):
    with pytest.raises(InputError, match="https alone"):
        fetch_mp(Query(("Si",)), PageCache(None), endpoint=endpoint, patience=QUICK)


def test_an_interrupted_fetch_goes_on_where_it_stopped(services, key, tmp_path):
    asked = Query(("Ti", "O"))
    services.faults = [None] * 4 + [502] * 100
    with pytest.raises(ServiceError):
        mp(services, asked, tmp_path, page=5)
    before = [query for _, query in services.requests]
    services.faults, services.requests = [], []
    pool = mp(services, asked, tmp_path, page=5)
    assert len(pool) == 23
    again = [q for _, q in services.requests if q in before and "material_ids" in q]
    assert len(again) <= 1  # the page that had failed
    services.requests.clear()
    assert mp(services, asked, tmp_path, page=5).text("id") == pool.text("id")
    assert services.requests == []  # all of it from disk


def test_a_damaged_page_is_fetched_anew(services, tmp_path):
    whole = oqmd(services, Query(("Ti", "O")), tmp_path, page=5)
    page = next(iter(tmp_path.rglob("*.json")))
    page.write_text(page.read_text()[:50])
    services.requests.clear()
    assert oqmd(services, Query(("Ti", "O")), tmp_path, page=5).text("id") == whole.text("id")
    assert len(services.requests) == 1


def test_oqmd_nulls_sites_and_filter(services):
    pool = oqmd(services, Query(("Ti", "O"), exact=True), page=5)
    assert services.requests[0][1]["filter"] == "element_set=Ti,O AND ntypes=2"
    assert np.isnan(pool.numeric("formation_energy_per_atom")[3])
    assert np.isnan(pool.numeric("band_gap")[6])
    atoms = pool.structures[0]
    assert atoms.get_chemical_symbols() == ["Ti", "O"]
    assert atoms.get_scaled_positions()[1] == pytest.approx([0.5] * 3)
    assert pool.text("id")[0] == "oqmd-5000"
    assert len(oqmd(services, Query(("Ti", "O"), limit=7), page=5)) == 7


def test_a_service_that_repeats_one_page_for_ever_is_told_on(services):
    services.faults = [None, *["repeated"] * 50]
    with pytest.raises(ServiceError, match="an earlier page came again"):
        oqmd(services, Query(("Ti", "O")), page=5)


def test_optimade_pages_structures_and_provider_fields(services):
    base = f"{services.base}/optimade/v1"
    pool = fetch_optimade(Query(("Ti", "O")), PageCache(None), base, fields=("_x_delta_e",), page=6, patience=QUICK)
    assert len(pool) == 17
    assert services.requests[0][1]["filter"] == 'elements HAS "Ti" AND elements HAS "O"'
    assert pool.structures[2].get_chemical_formula() == "OTi"
    assert pool.numeric("_x_delta_e")[0] == -2.0
    with pytest.raises(InputError, match="is no OPTIMADE service"):
        fetch_optimade(Query(("Ti",)), PageCache(None), "nowhere")


def test_rows_of_a_file_get_the_provenance_they_lack(tmp_path):
    (tmp_path / "mine.csv").write_text("formula,id,delta_e\nSi,a7,0.1\nGe,a9,0.2\n")
    pool = fetch_table(tmp_path / "mine.csv")
    assert pool.text("id") == ["a7", "a9"]
    assert pool.text("database") == ["mine.csv"] * 2
    assert len(pool.text("date")[0]) == 10


def test_queries_name_what_is_wrong():
    with pytest.raises(InputError, match='no element "Xx"'):
        Query(("Xx",))
    with pytest.raises(InputError, match="named twice"):
        Query(("Ti", "Ti"))
    with pytest.raises(InputError, match="no elements given"):
        Query(())


def test_a_missing_extra_names_its_pip_command(services, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(InputError, match=r'pip install "tentpole\[pool\]"'):
        oqmd(services, Query(("Ti", "O")))


def everything_said(error):
    """The texts of an exception and of all that it came from."""
    while error is not None:
        yield repr(error) + str(error) + json.dumps([repr(a) for a in error.args])
        error = error.__cause__ or error.__context__
