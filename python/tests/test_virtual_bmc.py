"""The package against the real bmc_emu and host_driver."""

import datetime
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import bmcpair
from bmcpair import NetFn, system_event

GET_DEVICE_ID = 0x01
GET_SENSOR_READING = 0x2D
GET_SEL_INFO = 0x40

TWO_BMCS = {
    "bmcs": [
        {"name": "left", "interfaces": [{"kind": "bt"}]},
        {"name": "right", "interfaces": [{"kind": "smic"}], "sensors": [{"name": "T", "type": "temperature", "initial": 20}]},
    ]
}


# ---- sensors and SEL ----
def test_a_pinned_sensor_has_raised_its_event_when_set_returns(virtual_bmc):
    assert virtual_bmc.sensors["Temp"].value == 30
    assert len(virtual_bmc.sel) == 0
    virtual_bmc.sensors["Temp"] = 85
    assert virtual_bmc.sensors["Temp"].value == 85
    events = virtual_bmc.sel.list()
    assert [(event.sensor_type, event.asserted, event.offset) for event in events] == [(1, True, 7), (1, True, 9)]
    assert {event.sensor_number for event in events} == {virtual_bmc.sensors["Temp"].number}


def test_a_released_sensor_is_its_configurations_again(virtual_bmc):
    virtual_bmc.sensors.set("Fan", 3000)
    assert virtual_bmc.sensors.release("Fan").value != 3000


def test_a_discrete_sensor_has_states_and_no_value(virtual_bmc):
    psu = virtual_bmc.sensors["PSU"]
    assert (psu.threshold, psu.value, psu.states) == (False, None, 1)
    assert virtual_bmc.sensors.set_states("PSU", 0b11).states == 0b11


def test_an_unknown_sensor_is_not_found_and_the_error_names_those_there_are(virtual_bmc):
    for wrong in (lambda: virtual_bmc.sensors["Tmep"], lambda: virtual_bmc.sensors.set("Tmep", 1)):
        with pytest.raises(bmcpair.NotFoundError, match="'Tmep'; there are: Temp, Fan, PSU"):
            wrong()


def test_sel_records_come_back_as_they_were_added(virtual_bmc):
    added = virtual_bmc.sel.add(system_event(0x08, 3, (0x01, 0xFF, 0xFF), event_type=0x6F, asserted=False))
    (record,) = virtual_bmc.sel
    assert record.id == added
    assert (record.sensor_type, record.sensor_number, record.event_type, record.asserted) == (0x08, 3, 0x6F, False)
    assert record.data == b"\x01\xff\xff"
    oem = bytes([0, 0, 0xE0, *range(13)])
    virtual_bmc.sel.add(oem)
    last = virtual_bmc.sel.list()[-1]
    assert last.raw[2:] == oem[2:] and last.timestamp is None and last.sensor_type is None
    virtual_bmc.sel.clear()
    assert not [r for r in virtual_bmc.sel if r.record_type == 0xE0]


def test_a_record_of_15_bytes_is_refused(virtual_bmc):
    with pytest.raises(bmcpair.RefusedError, match="16"):
        virtual_bmc.sel.add(bytes(15))


# ---- a host ----
def test_a_hosts_raw_request_is_in_the_traffic_byte_for_byte(virtual_bmc):
    reply = virtual_bmc.host("bt").raw(NetFn.SENSOR, GET_SENSOR_READING, [virtual_bmc.sensors["Temp"].number])
    assert reply.ok and reply.data[0] == 30
    (message,) = virtual_bmc.traffic(NetFn.SENSOR, GET_SENSOR_READING)
    assert message.interface == "bt"
    assert message.request == bytes([NetFn.SENSOR << 2, GET_SENSOR_READING, 1])
    assert message.cc == 0 and message.response_data == reply.data and message.took > 0


def test_a_completion_code_is_data_for_the_caller(virtual_bmc):
    reply = virtual_bmc.host().raw(NetFn.APP, 0x7F)
    assert reply.cc == 0xC1 and not reply.ok


def test_a_hosts_register_accesses_are_recorded_with_both_sides(virtual_bmc):
    virtual_bmc.host("kcs").raw(NetFn.APP, GET_DEVICE_ID)
    accesses = virtual_bmc.accesses("kcs")
    assert {access.kind for access in accesses} == {"kcs"}
    # WRITE_START, and the request's first byte after it (IPMI 2.0 figure 9-6).
    writes = [access for access in accesses if access.by_host and access.write]
    assert (writes[0].offset, writes[0].value) == (1, 0x61)
    assert (writes[1].offset, writes[1].value) == (0, NetFn.APP << 2)
    assert any(not access.by_host for access in accesses)
    assert [access.at for access in accesses] == sorted(access.at for access in accesses)


def test_traffic_is_forgotten_when_it_is_cleared(virtual_bmc):
    virtual_bmc.host().raw(NetFn.APP, GET_DEVICE_ID)
    assert virtual_bmc.traffic()
    virtual_bmc.clear_traffic()
    assert virtual_bmc.traffic() == [] and virtual_bmc.accesses() == []


def test_host_driver_commands_come_back_as_values(virtual_bmc):
    sensors = {one["name"]: one for one in virtual_bmc.host().command("sensors")["sensors"]}
    assert sensors["Temp"]["value"] == 30


def test_an_interface_that_is_held_is_said_to_be_held(virtual_bmc, bmcpair_programs):
    watcher = subprocess.Popen(
        [bmcpair_programs.path("host_driver"), "--bus", virtual_bmc.bus("kcs"), "watch"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        held = virtual_bmc.wait_for(
            lambda: [one for one in virtual_bmc.interfaces() if one.held_by], timeout=60, what="a host that holds kcs"
        )
        assert [one.name for one in held] == ["kcs"]
        with pytest.raises(bmcpair.HostError, match="in use by host_driver"):
            virtual_bmc.host("kcs").raw(NetFn.APP, GET_DEVICE_ID)
    finally:
        watcher.terminate()
        watcher.wait()


def test_a_program_sees_the_bmc_through_host_driver_run(virtual_bmc):
    done = virtual_bmc.host("kcs").run(["ipmitool", "-I", "open", "raw", "0x06", "0x01"], check=True)
    assert bytes.fromhex(done.stdout) == virtual_bmc.traffic(NetFn.APP, GET_DEVICE_ID)[-1].response_data
    assert virtual_bmc.host("kcs").run(["sh", "-c", "exit 7"]).returncode == 7
    with pytest.raises(bmcpair.HostError, match="exit status 7"):
        virtual_bmc.host("kcs").run(["sh", "-c", "exit 7"], check=True)


# ---- faults ----
@pytest.mark.parametrize(
    "rule",
    [
        "cc=c3 cmd=get_sel_info count=1",
        "faults: [{cc: c3, cmd: get_sel_info, count: 1}]",
        {"cc": 0xC3, "cmd": "get_sel_info", "count": 1},
        {"cc": "c3", "netfn": "storage", "cmd": 0x40, "count": 1},
        pathlib.Path("rules.yaml"),
    ],
    ids=["short form", "YAML", "mapping", "mapping with text", "file"],
)
def test_a_fault_in_any_form_meets_the_host_as_the_code_that_was_asked_for(virtual_bmc, rule, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("rules.yaml").write_text("faults:\n  - {cc: c3, cmd: get_sel_info, count: 1}\n")
    (fault,) = virtual_bmc.faults.add(rule)
    assert fault.fired == 0
    host = virtual_bmc.host()
    assert host.raw(NetFn.STORAGE, GET_SEL_INFO).cc == 0xC3
    assert host.raw(NetFn.STORAGE, GET_SEL_INFO).cc == 0x00
    assert virtual_bmc.faults.get(fault).fired == 1
    assert [m.faults for m in virtual_bmc.traffic(NetFn.STORAGE, GET_SEL_INFO)] == [(fault.id,), ()]


def test_values_of_a_mapping_become_what_the_rules_file_would_have(virtual_bmc):
    (fault,) = virtual_bmc.faults.add(
        {"delay": datetime.timedelta(milliseconds=5), "cmd": "set_sel_time", "data": b"\x00\x1c"}
    )
    assert "delay=5ms" in fault.rule and "data=" in fault.rule


def test_a_wrong_rule_is_refused_with_its_key_and_nothing_is_added(virtual_bmc):
    with pytest.raises(bmcpair.RefusedError, match="did you mean 'count'"):
        virtual_bmc.faults.add({"cc": "d5"}, {"cc": "d5", "cuont": 2})
    assert virtual_bmc.faults.list() == []


def test_faults_end_where_they_are_cleared_and_with_their_block(virtual_bmc):
    first, second = virtual_bmc.faults.add("cc=d5 cmd=get_sel_info", "drop=answer cmd=get_sdr")
    with virtual_bmc.faults.in_force("hold=sms_atn"):
        assert len(virtual_bmc.faults.list()) == 3
    assert virtual_bmc.faults.clear(first) == 1
    assert [fault.id for fault in virtual_bmc.faults] == [second.id]
    assert virtual_bmc.faults.clear() == 1
    with pytest.raises(bmcpair.NotFoundError, match="no fault"):
        virtual_bmc.faults.get(first)


# ---- events ----
def test_a_watch_misses_nothing_since_it_was_entered(virtual_bmc):
    with virtual_bmc.watch() as events:
        for n in range(20):
            virtual_bmc.sel.add(system_event(1, 1, (n, 0xFF, 0xFF)))
        assert [events.wait_for("sel").value for _ in range(20)] == list(range(1, 21))
        with pytest.raises(bmcpair.WaitTimeout, match="no event 'power'.*sel"):
            virtual_bmc.sel.add(system_event(1, 1, (1, 2, 3)))
            events.wait_for("power", timeout=2)


def test_a_watch_ends_with_its_daemon(bmc_emu, virtual_bmc):
    with virtual_bmc.watch() as events:
        bmc_emu.kill()
        with pytest.raises((EOFError, bmcpair.BmcpairError)):
            while True:
                events.next(30)


def test_wait_for_returns_what_came_and_says_what_did_not(virtual_bmc):
    assert virtual_bmc.wait_for(lambda: virtual_bmc.power, timeout=1) == "on"
    with pytest.raises(TimeoutError, match="a third fan did not come within 0.05 s; last: \\[\\]"):
        virtual_bmc.wait_for(
            lambda: [one for one in virtual_bmc.sensors if one.name == "Fan 3"], timeout=0.05, what="a third fan"
        )
    with pytest.raises(bmcpair.WaitTimeout, match="NetFn 0xa, Cmd any"):
        virtual_bmc.wait_for_message(NetFn.STORAGE, timeout=0.05)
    virtual_bmc.host().raw(NetFn.STORAGE, GET_SEL_INFO)
    assert len(virtual_bmc.wait_for_message(NetFn.STORAGE)) == 1


# ---- power and reset ----
def test_power_goes_off_and_on(virtual_bmc):
    assert virtual_bmc.power == "on"
    assert virtual_bmc.set_power("off") == "off" and virtual_bmc.power == "off"
    assert virtual_bmc.set_power("on") == "on"
    with pytest.raises(ValueError, match="none of off, on"):
        virtual_bmc.set_power("of")


def test_a_warm_reset_is_survived_by_a_host(virtual_bmc):
    virtual_bmc.reset("warm")
    assert virtual_bmc.host().raw(NetFn.APP, GET_DEVICE_ID).ok


# ---- the daemon ----
def test_state_survives_a_daemon_that_is_killed(start_bmc_emu, tmp_path):
    daemon = start_bmc_emu(state=tmp_path / "state")
    kept = daemon.first.sel.add(system_event(1, 1, (1, 2, 3)))
    before = daemon.pid
    daemon.kill()
    with pytest.raises(bmcpair.UnreachableError, match="nobody answers"):
        daemon.first.sel.list()
    daemon.restart()
    assert daemon.pid != before
    assert [record.id for record in daemon.first.sel] == [kept]


def test_nothing_survives_without_a_state_folder(bmc_emu, virtual_bmc):
    virtual_bmc.sel.add(system_event(1, 1, (1, 2, 3)))
    bmc_emu.restart()
    assert len(virtual_bmc.sel) == 0
    assert virtual_bmc.traffic() == [], "recorded again, from the start"
    virtual_bmc.host().raw(NetFn.APP, GET_DEVICE_ID)
    assert virtual_bmc.traffic(NetFn.APP, GET_DEVICE_ID)


def test_a_daemon_stops_within_its_own_bound_and_leaves_nothing(start_bmc_emu):
    daemon = start_bmc_emu()
    folder = os.path.dirname(os.path.dirname(daemon.address[len("unix:") :]))
    assert os.path.isdir(folder)
    assert daemon.stop() == 0
    assert not os.path.exists(folder)
    assert daemon.stop() is None, "again does nothing"


def test_several_bmcs_of_one_daemon_and_several_daemons_are_apart(start_bmc_emu):
    first, second = start_bmc_emu(TWO_BMCS), start_bmc_emu(TWO_BMCS)
    assert [bmc.name for bmc in first] == ["left", "right"] and len(first) == 2
    first["right"].sensors["T"] = 33
    assert second["right"].sensors["T"].value == 20
    assert first["right"].host().raw(NetFn.APP, GET_DEVICE_ID).ok
    assert first["left"].traffic() == []
    with pytest.raises(bmcpair.NotFoundError, match="left, right"):
        first["middle"]
    with pytest.raises(bmcpair.NotFoundError, match="no interface 'kcs'; there are: bt"):
        first["left"].bus("kcs")


def test_a_daemon_elsewhere_is_reached_by_its_address(start_bmc_emu):
    daemon = start_bmc_emu(TWO_BMCS, listen="127.0.0.1:0")
    (address,) = daemon.tcp_addresses
    bmc = bmcpair.connect(address, "right")
    try:
        bmc.sensors["T"] = 21
        assert daemon["right"].sensors["T"].value == 21
        assert bmc.address == address
        with pytest.raises(bmcpair.NotFoundError, match="not started here"):
            bmc.daemon
    finally:
        bmc.connection.close()
    with pytest.raises(bmcpair.NotFoundError, match="2 BMCs; say which: left, right"):
        bmcpair.connect(address)


def test_a_wrong_configuration_says_where(start_bmc_emu, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("bmcs:\n  - name: a\n    interfaces: [{knid: bt}]\n")
    with pytest.raises(bmcpair.StartError, match=r"exit status 3(.|\n)*wrong.yaml:3:\d+: .*did you mean 'kind'"):
        start_bmc_emu(wrong)


def test_settings_of_another_daemon_in_the_environment_do_not_reach_it(start_bmc_emu, monkeypatch):
    monkeypatch.setenv("BMCPAIR_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("BMCPAIR_LOG_FORMAT", "json")
    assert start_bmc_emu().first.power == "on"


def test_a_daemon_ends_with_the_process_that_started_it(bmcpair_programs, tmp_path):
    program = (
        "import bmcpair, sys, time\n"
        f"daemon = bmcpair.BmcEmu(programs=bmcpair.Programs({bmcpair_programs.folder!r}))\n"
        "print(daemon.pid, daemon.address, flush=True)\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    pid, address = child.stdout.readline().split()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    # A daemon that stops as it should takes its socket with it; it is nobody's child here.
    socket = address[len("unix:") :]
    end = datetime.datetime.now() + datetime.timedelta(seconds=60)
    while os.path.exists(socket) or os.path.exists(f"/proc/{pid}/exe"):
        assert datetime.datetime.now() < end, f"bmc_emu {pid} outlived its parent"
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z" and not os.path.exists(socket):
                    break  # nobody reaps it here, but it has ended
        except FileNotFoundError:
            pass


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(bmcpair.NotFoundError, match=f"{tmp_path}/bmc_emu"):
        bmcpair.BmcEmu(programs=bmcpair.Programs(tmp_path))
