"""What machines cost, and where that is known from."""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest
from click.testing import CliRunner

from equipoise.cli.prices import prices as prices_command
from equipoise.core.brief import HardwareBrief, OwnedMachine
from equipoise.core.environment import Environment
from equipoise.errors import BriefError, DataError
from equipoise.ingest.prices import extrapolation_note, import_prices, known_prices, own_table, price_for

HEADER = "name,vcpus,memory_mib,usd_per_hour\n"


def machine(cores, system="Linux x86_64"):
    return Environment(
        cpu_model="test", cpu_flags=(), cores=cores, memory_bytes=2**32, system=system, python="3.11", libraries={}
    )


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="list-2026-05-01.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_text


def test_every_shipped_price_has_a_source_and_a_date():
    rows = known_prices()
    assert len(rows) >= 20
    assert all(row.source and row.dated == "2026-07-20" and row.usd_per_hour > 0 and row.vcpus >= 1 for row in rows)
    assert len({row.name for row in rows}) == len(rows)


def test_every_shipped_price_is_the_one_of_its_source(shared_data):
    with (shared_data / "prices/aws_us-east-1_2026-07-20.csv").open() as file:
        source = {f"aws:{row['instance_type']}": row for row in csv.DictReader(file)}
    for row in known_prices():
        assert row.usd_per_hour == float(source[row.name]["usd_per_hour_us_east_1"])
        assert (row.vcpus, row.memory_mib) == (int(source[row.name]["vcpu"]), int(source[row.name]["memory_mib"]))


def test_a_given_price_is_taken_as_it_is():
    price = price_for(HardwareBrief(usd_per_hour=0.0892), machine(2))
    assert (price.usd_per_hour, price.kind, price.instance) == (0.0892, "given", None)


@pytest.mark.parametrize("name", ["aws:c7i.large", "AWS:C7I.Large", " c7i.large"])
def test_an_instance_is_found_however_it_is_written(name):
    price = price_for(HardwareBrief(instance=name), machine(2))
    assert (price.instance, price.kind, price.usd_per_hour) == ("aws:c7i.large", "instance", 0.08925)
    assert (price.vcpus, price.memory_mib, price.dated) == (2, 4096, "2026-07-20")


def test_an_unknown_instance_is_one_error_with_near_names():
    with pytest.raises(BriefError, match=r"did you mean aws:c7i\.large") as caught:
        price_for(HardwareBrief(instance="aws:c7i.lage"), machine(2))
    assert "equipoise prices import" in str(caught.value)
    with pytest.raises(BriefError, match="is none of the"):
        price_for(HardwareBrief(instance="zzzzzzzzzzzz"), machine(2))


def test_an_owned_machine_is_derived():
    owned = OwnedMachine(capex_usd=730.5 * 36, months=36, watts=100, usd_per_kwh=0.30)
    price = price_for(HardwareBrief(owned=owned), machine(2))
    assert price.usd_per_hour == pytest.approx(1.03)
    assert price.kind == "owned"
    assert "730.5" in price.source


def test_two_prices_at_once_are_refused():
    with pytest.raises(BriefError, match="usd_per_hour and instance"):
        price_for(HardwareBrief(usd_per_hour=1.0, instance="aws:c7i.large"), machine(2))


@pytest.mark.parametrize(
    ("cores", "system", "expected"),
    [
        (1, "Linux x86_64", "aws:c7a.medium"),
        (2, "Linux x86_64", "aws:c7i.large"),
        (3, "Linux x86_64", "aws:c7i.xlarge"),
        (16, "Linux x86_64", "aws:c7i.4xlarge"),
        (1000, "Linux x86_64", "aws:c7i.48xlarge"),
        (2, "Linux aarch64", "aws:c7g.large"),
        (8, "Darwin arm64", "aws:c7g.2xlarge"),
    ],
)
def test_without_a_price_a_dated_reference_is_assumed_and_called_that(cores, system, expected):
    price = price_for(HardwareBrief(), machine(cores, system))
    assert (price.kind, price.instance) == ("assumed", expected)
    assert price.dated is not None
    assert price.source.startswith("assumed")


def test_another_machine_than_the_measured_one_is_called_an_extrapolation():
    price = price_for(HardwareBrief(instance="aws:c7i.xlarge"), machine(2))
    note = extrapolation_note(price, machine(2))
    assert note is not None
    assert "4 vCPUs, and this machine 2" in note
    assert "extrapolation" in note
    assert "usd_per_hour /" in note
    assert extrapolation_note(price, machine(4)) is None
    assert extrapolation_note(price_for(HardwareBrief(usd_per_hour=1.0), machine(2)), machine(2)) is None
    other = extrapolation_note(price_for(HardwareBrief(instance="aws:c7g.xlarge"), machine(4)), machine(4))
    assert other is not None
    assert "arm64, and this machine x86_64" in other
    gpu = extrapolation_note(price_for(HardwareBrief(instance="aws:g5.xlarge"), machine(4)), machine(4))
    assert gpu is not None
    assert "GPU" in gpu


def test_the_shared_list_is_taken_in_with_nothing_said_about_it(shared_data):
    count = import_prices(shared_data / "prices/aws_us-east-1_2026-07-20.csv")
    assert count == 1345  # of 1,363, 18 have no price
    row = next(row for row in known_prices() if row.name == "aws:m5.large")
    assert (row.usd_per_hour, row.vcpus, row.source, row.dated) == (0.096, 2, "aws us-east-1", "2026-07-20")
    assert next(row for row in known_prices() if row.name == "aws:g5.xlarge").gpu == "1x a10g"


def test_an_own_price_goes_before_the_shipped_one_and_stays_beside_earlier_ones(write, own_folder):
    assert import_prices(write(HEADER + "c7i.large,2,4096,0.05\nmine.big,8,,0.5\n"), provider="AWS") == 2
    assert (
        import_prices(write("instance_type,vcpu,usd_per_hour_eu_west_1,provider\nn2,4,0.2,gcp\n"), dated="2026-06-02")
        == 1
    )
    assert own_table() == own_folder / "prices.csv"
    assert [path.name for path in own_folder.iterdir()] == ["prices.csv"]
    assert price_for(HardwareBrief(instance="aws:c7i.large"), machine(2)).usd_per_hour == 0.05
    assert price_for(HardwareBrief(instance="mine.big"), machine(2)).memory_mib is None
    n2 = price_for(HardwareBrief(instance="gcp:n2"), machine(2))
    assert (n2.usd_per_hour, n2.source, n2.dated) == (0.2, "gcp eu-west-1", "2026-06-02")
    assert price_for(HardwareBrief(), machine(2)).usd_per_hour == 0.08925  # what is assumed is the shipped one


def test_the_table_that_is_shipped_can_be_taken_in_itself(write):
    shipped = files("equipoise.ingest").joinpath("prices.csv").read_text()
    before = known_prices()
    assert import_prices(write(shipped, "shipped.csv")) == len(before)
    assert known_prices() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "its columns are none"),
        ("name,vcpus,price\na,2,1\n", "line 1: its columns are name, vcpus, price"),
        ("name,vcpus,usd_per_hour_a,usd_per_hour_b\na,2,1,1\n", "usd_per_hour_a, usd_per_hour_b"),
        ("name,name,vcpus,usd_per_hour\na,a,2,1\n", "more than one column is named name"),
        (HEADER, "no row of it has a price"),
        (HEADER + "a,2,4096,1\nb,2,4096,free\n", "line 3: usd_per_hour is 'free'"),
        (HEADER + "a,2,4096,0\n", "line 2: usd_per_hour is '0'"),
        (HEADER + "a,2,4096,nan\n", "line 2: usd_per_hour is 'nan'"),
        (HEADER + "a,2,4096,-1\n", "line 2: usd_per_hour is '-1'"),
        (HEADER + "a,,4096,1\n", "line 2: vcpus is ''"),
        (HEADER + "a,2.5,4096,1\n", "line 2: vcpus is 2.5"),
        (HEADER + "a,2,much,1\n", "line 2: memory_mib is 'much'"),
        (HEADER + "a,2,4096\n", "line 2: it has 3 cells"),
        (HEADER + ",2,4096,1\n", "line 2: it names no instance"),
        (HEADER + "a,2,4096,1\n\nA,2,4096,2\n", "line 4: p:A is also in line 2"),
    ],
)
def test_what_is_no_price_list_is_one_clear_error_and_changes_nothing(write, own_folder, text, expected):
    with pytest.raises(DataError) as caught:
        import_prices(write(text), provider="p")
    assert expected in str(caught.value)
    assert not own_folder.exists()


def test_who_offers_it_and_when_must_be_known(write, tmp_path):
    with pytest.raises(DataError, match="--provider"):
        import_prices(write(HEADER + "a,2,4096,1\n"))
    with pytest.raises(DataError, match="--dated"):
        import_prices(write(HEADER + "a,2,4096,1\n", "list.csv"), provider="p")
    with pytest.raises(DataError, match="the date is '2026-13-01'"):
        import_prices(write(HEADER + "a,2,4096,1\n"), provider="p", dated="2026-13-01")
    with pytest.raises(DataError, match="no such file"):
        import_prices(tmp_path / "none.csv", provider="p")


def test_the_command_lists_and_takes_in(write):
    runner = CliRunner()
    listed = runner.invoke(prices_command, ["list", "--filter", "C7I.large"])
    assert listed.exit_code == 0
    assert "aws:c7i.large" in listed.output
    assert "0.08925" in listed.output
    assert "c7g" not in listed.output
    taken = runner.invoke(prices_command, ["import", str(write(HEADER + "a,2,4096,1\n")), "--provider", "p"])
    assert taken.exit_code == 0
    assert "1 prices taken in" in taken.output
    assert "p:a" in runner.invoke(prices_command, ["list"]).output
    assert "no known instance" in runner.invoke(prices_command, ["list", "--filter", "nowhere"]).output
