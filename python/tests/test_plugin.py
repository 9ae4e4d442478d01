"""The pytest plugin, as a test author meets it: pytest in a folder of its own."""

import pytest


@pytest.fixture
def suite(pytester, monkeypatch, bmcpair_programs):
    """A folder of tests, run by a pytest of its own."""
    monkeypatch.setenv("BMCPAIR_BIN_DIR", bmcpair_programs.folder)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    class Suite:
        def __getattr__(self, name):
            return getattr(pytester, name)

        def run(self, *arguments):
            return pytester.runpytest_subprocess("-p", "bmcpair.pytest_plugin", "-p", "no:cacheprovider", *arguments)

    return Suite()


def test_a_failing_test_shows_what_its_bmc_saw(suite):
    suite.makepyfile(
        """
        def test_it(virtual_bmc):
            virtual_bmc.faults.add("cc=c0 cmd=get_sel_info")
            assert virtual_bmc.host("kcs").raw(0x0a, 0x40).ok
        """
    )
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*bmc_emu unix:*", "*bmc_emu: ready*", "*IPMI traffic of bmc*", "*kcs: 28 40 -> 2c 40 c0  (faults 1)*"]
    )


def test_a_passing_test_shows_nothing_of_it(suite):
    suite.makepyfile("def test_it(virtual_bmc): virtual_bmc.host('kcs').raw(6, 1)")
    result = suite.run("-s")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*IPMI traffic*")


def test_the_marker_names_a_file_beside_the_test_or_holds_a_mapping(suite):
    suite.makefile(".yaml", mine="bmcs: [{name: of-the-file, interfaces: [{kind: bt}]}]\n")
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.bmc("mine.yaml")
        def test_file(virtual_bmc):
            assert virtual_bmc.name == "of-the-file"

        @pytest.mark.bmc({"bmcs": [{"name": "of-the-mapping"}, {"name": "second"}]})
        def test_mapping(bmc_emu, virtual_bmc):
            assert [bmc.name for bmc in bmc_emu] == ["of-the-mapping", "second"]
            assert virtual_bmc.name == "of-the-mapping"

        @pytest.mark.bmc("mine.yaml", state=True)
        def test_state(bmc_emu, virtual_bmc):
            virtual_bmc.sel.add(bytes(16))
            bmc_emu.restart()
            assert len(virtual_bmc.sel) == 1

        def test_default(virtual_bmc):
            assert virtual_bmc.name == "bmc"
        """
    )
    suite.run("--strict-markers").assert_outcomes(passed=4)


def test_the_ini_file_names_programs_and_a_configuration_for_all(suite, monkeypatch, bmcpair_programs):
    monkeypatch.delenv("BMCPAIR_BIN_DIR")
    suite.makeini(f"[pytest]\nbmcpair_bin_dir = {bmcpair_programs.folder}\nbmcpair_config = all.yaml\n")
    suite.makefile(".yaml", all="bmcs: [{name: everybodys}]\n")
    suite.makepyfile("def test_it(virtual_bmc): assert virtual_bmc.name == 'everybodys'")
    suite.run().assert_outcomes(passed=1)


def test_the_configuration_may_be_a_fixture_of_the_suite(suite):
    suite.makepyfile(
        """
        import pytest

        @pytest.fixture(params=["kcs", "bt", "smic"])
        def bmc_config(request):
            return {"bmcs": [{"name": request.param, "interfaces": [{"kind": request.param}]}]}

        def test_each(virtual_bmc):
            assert [one.kind for one in virtual_bmc.interfaces()] == [virtual_bmc.name]
            assert virtual_bmc.host().raw(6, 1).ok
        """
    )
    suite.run().assert_outcomes(passed=3)


def test_a_wrong_configuration_is_an_error_with_its_line(suite):
    suite.makefile(".yaml", wrong="bmcs:\n  - name: a\n    sensros: []\n")
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.bmc("wrong.yaml")
        def test_it(virtual_bmc):
            pass
        """
    )
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*wrong.yaml:3:5: *did you mean 'sensors'*"])


def test_programs_that_are_not_there_are_said_to_be_missing(suite, monkeypatch):
    monkeypatch.setenv("BMCPAIR_BIN_DIR", "/nowhere")
    suite.makepyfile("def test_it(virtual_bmc): pass")
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there is no program /nowhere/bmc_emu*"])


def test_help_shows_the_options_and_fixtures(suite):
    suite.run("--help").stdout.fnmatch_lines(["*--bmcpair-bin-dir*"])
    result = suite.run("--fixtures", "-q")
    result.stdout.fnmatch_lines(["virtual_bmc -- *", "*started for this test alone*"])
