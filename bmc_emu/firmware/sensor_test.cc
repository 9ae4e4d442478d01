#include "bmc_emu/firmware/sensor.h"

#include <cmath>

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// When the sensors want to be looked at; other parts have their own times.
class SensorTest : public FirmwareTest {
 protected:
  Instant sensors_due() const { return bmc->state().sensor->next_due(bmc->state()); }
};

class Sensors : public SensorTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.cold_reset_offline = Duration(0);
    SensorConfig temp;  // raw is degrees
    temp.name = "CPU Temp";
    temp.number = 0x30;
    temp.initial = 40;
    temp.thresholds = {{}, 5, 10, 80, 90, 95, 2, 1};
    SensorConfig volts;  // 0.02 V a count from 1 V on
    volts.name = "Vcore";
    volts.number = 0x31;
    volts.sensor_type = 0x02;
    volts.unit = 4;
    volts.m = 2;
    volts.b = 1;
    volts.b_exponent = 2;
    volts.r_exponent = -2;
    volts.initial = 1.2;
    volts.settable = false;
    SensorConfig inlet;  // below zero
    inlet.name = "Inlet";
    inlet.number = 0x32;
    inlet.is_signed = true;
    inlet.initial = -10;
    inlet.thresholds.lower_critical = -20;
    SensorConfig margin;  // a negative M: raw falls as the value rises
    margin.name = "Margin";
    margin.number = 0x33;
    margin.m = -1;
    margin.b = 100;
    margin.initial = 50;
    margin.thresholds.upper_critical = 90;
    SensorConfig psu;
    psu.name = "PSU";
    psu.number = 0x40;
    psu.owner_lun = 1;
    psu.threshold = false;
    psu.sensor_type = 0x08;
    psu.event_mask = 0x0f;
    psu.initial_state = 0x01;
    c.sensors = {temp, volts, inlet, margin, psu};
    return c;
  }
  void set(std::string_view name, double value) {
    auto done = bmc->set_sensor_value(name, value, now);
    ASSERT_TRUE(done.ok()) << done.error().to_string();
  }
  // Sensor number, direction/type and event data of what was logged since the last call.
  std::vector<std::string> events() {
    std::vector<std::string> out;
    for (const auto& view : bmc->sel(now)) out.push_back(to_hex(ByteView(view.record).subspan(11)));
    EXPECT_TRUE(bmc->sel_clear(now).ok());
    return out;
  }
};

TEST_F(Sensors, EveryCommandRefusesOtherLengthsAndUnknownSensors) {
  for (std::string_view bad :
       {"04 23 30", "04 23 30 00 00", "04 24 30 ff 01", "04 24 30 ff 01 01 01", "04 25 30", "04 25 30 ff 00",
        "04 26 30 08 00 00 00 1e 00", "04 26 30 08 00 00 00 1e 00 00 00", "04 27", "04 27 30 00", "04 28 30",
        "04 28 30 c0 00 00 00 00 00", "04 29", "04 29 30 00", "04 2a 30", "04 2a 30 00 00 00 00 00 00", "04 2b",
        "04 2b 30 00", "04 2d", "04 2d 30 00", "04 2e 30 01", "04 2e 30 01 01 01", "04 2f", "04 2f 30 00", "04 30 30",
        "04 30 30 00 00 00 00 00 00 00 00 00 00"}) {
    EXPECT_EQ(ask(bad), "c7") << bad;
  }
  for (std::string_view unknown :
       {"04 23 99 00", "04 24 99 ff 01 01", "04 25 99 ff", "04 26 99 00 00 00 00 00 00 00", "04 27 99", "04 28 99 c0",
        "04 29 99", "04 2a 99 00", "04 2b 99", "04 2d 99", "04 2e 99 01 01", "04 2f 99", "04 30 99 01 00"}) {
    EXPECT_EQ(ask(unknown), "cb") << unknown;
  }
  for (std::string_view analog_only :
       {"04 23 40 00", "04 24 40 ff 01 01", "04 25 40 ff", "04 26 40 00 00 00 00 00 00 00", "04 27 40"}) {
    EXPECT_EQ(ask(analog_only, 1), "cd") << analog_only;
  }
}

TEST_F(Sensors, AReadingWithItsThresholdComparison) {
  EXPECT_EQ(ask("04 2d 30"), "00 28 c0 c0");
  EXPECT_EQ(ask("04 2d 31"), "00 0a c0 c0") << "1.2 V is ten counts of 0.02 V above 1 V";
  EXPECT_EQ(ask("04 2d 32"), "00 f6 c0 c0");
  EXPECT_EQ(ask("04 2d 33"), "00 32 c0 c0");
  set("CPU Temp", 80);
  EXPECT_EQ(ask("04 2d 30"), "00 50 c0 c8") << "at the threshold";
  set("CPU Temp", 99);
  EXPECT_EQ(ask("04 2d 30"), "00 63 c0 f8");
  set("CPU Temp", 5);
  EXPECT_EQ(ask("04 2d 30"), "00 05 c0 c3");
  set("Inlet", -20);
  EXPECT_EQ(ask("04 2d 32"), "00 ec c0 c2");
}

TEST_F(Sensors, ASensorIsOnItsLun) {
  EXPECT_EQ(ask("04 2d 40"), "cb");
  EXPECT_EQ(ask("04 2d 40", 1), "00 00 c0 01 80");
  EXPECT_EQ(ask("04 2d 30", 1), "cb");
  EXPECT_EQ(ask("04 2d 30", 2), "c2");
}

TEST_F(Sensors, ReadingFactorsAreTheRecords) {
  EXPECT_EQ(ask("04 23 31 00"), "00 ff 02 00 01 00 00 e2");
  EXPECT_EQ(ask("04 23 33 80"), "00 ff ff c0 64 00 00 00");
}

TEST_F(Sensors, CrossingsRaiseEventsAndHysteresisHoldsThem) {
  set("CPU Temp", 79);
  EXPECT_THAT(events(), IsEmpty());
  set("CPU Temp", 80);
  EXPECT_THAT(events(), ElementsAre("30 01 57 50 50"));
  set("CPU Temp", 82);
  set("CPU Temp", 78);
  EXPECT_THAT(events(), IsEmpty()) << "within two counts below";
  EXPECT_EQ(ask("04 2d 30"), "00 4e c0 c0") << "the comparison has no hysteresis";
  set("CPU Temp", 77);
  EXPECT_THAT(events(), ElementsAre("30 81 57 4d 50"));
  set("CPU Temp", 10);
  EXPECT_THAT(events(), ElementsAre("30 01 50 0a 0a"));
  set("CPU Temp", 11);
  EXPECT_THAT(events(), IsEmpty()) << "within one count above";
  set("CPU Temp", 12);
  EXPECT_THAT(events(), ElementsAre("30 81 50 0c 0a"));
}

TEST_F(Sensors, AJumpRaisesEveryCrossingInTheOrderOfASlowOne) {
  set("CPU Temp", 96);
  EXPECT_THAT(events(), ElementsAre("30 01 57 60 50", "30 01 59 60 5a", "30 01 5b 60 5f"));
  set("CPU Temp", 3);
  EXPECT_THAT(events(), ElementsAre("30 81 5b 03 5f", "30 81 59 03 5a", "30 81 57 03 50", "30 01 50 03 0a",
                                    "30 01 52 03 05"));
}

TEST_F(Sensors, AFallingRawReadingOfANegativeMIsARisingValue) {
  set("Margin", 91);
  EXPECT_THAT(events(), ElementsAre("33 01 59 09 0a"));
  EXPECT_EQ(ask("04 2d 33"), "00 09 c0 d0");
  set("Margin", 80);
  EXPECT_THAT(events(), ElementsAre("33 81 59 14 0a"));
}

TEST_F(Sensors, ThresholdsAreReadSetAndComparedAtOnce) {
  EXPECT_EQ(ask("04 27 30"), "00 3b 0a 05 00 50 5a 5f");
  EXPECT_EQ(ask("04 26 30 08 01 02 03 1e 05 06"), "00");
  EXPECT_EQ(ask("04 27 30"), "00 3b 0a 05 00 1e 5a 5f") << "only what the mask selects";
  EXPECT_THAT(events(), ElementsAre("30 01 57 28 1e"));
  EXPECT_EQ(ask("04 26 30 04 00 00 00 00 00 00"), "cc") << "this sensor has no lower non-recoverable threshold";
  EXPECT_EQ(ask("04 26 30 40 00 00 00 00 00 00"), "cc");
  EXPECT_EQ(ask("04 26 31 01 00 00 00 00 00 00"), "cc");
  EXPECT_EQ(ask("04 26 30 10 00 00 00 00 01 00"), "00") << "their order is not enforced";
  EXPECT_EQ(ask("04 27 31"), "00 00 00 00 00 00 00 00");
}

TEST_F(Sensors, HysteresisIsReadAndSet) {
  EXPECT_EQ(ask("04 25 30 ff"), "00 02 01");
  EXPECT_EQ(ask("04 24 30 ff 05 06"), "00");
  EXPECT_EQ(ask("04 25 30 ff"), "00 05 06");
  EXPECT_EQ(ask("04 24 30 00 05 06"), "cc");
  EXPECT_EQ(ask("04 25 30 00"), "cc");
  set("CPU Temp", 80);
  set("CPU Temp", 75);
  EXPECT_THAT(events(), ElementsAre("30 01 57 50 50"));
  EXPECT_EQ(ask("04 24 30 ff 00 00"), "00");
  EXPECT_THAT(events(), ElementsAre("30 81 57 4b 50")) << "less hysteresis lets go at once";
}

TEST_F(Sensors, EventsAreEnabledAndDisabledOneByOneAndAltogether) {
  EXPECT_EQ(ask("04 29 30"), "00 c0 85 0a 85 0a");
  EXPECT_EQ(ask("04 28 30 e0 80 00 00 00"), "00");
  EXPECT_EQ(ask("04 29 30"), "00 c0 05 0a 85 0a");
  set("CPU Temp", 85);
  EXPECT_THAT(events(), IsEmpty());
  set("CPU Temp", 40);
  EXPECT_THAT(events(), ElementsAre("30 81 57 28 50"));
  EXPECT_EQ(ask("04 28 30 d0 ff ff"), "00");
  EXPECT_EQ(ask("04 29 30"), "00 c0 85 0a 85 0a") << "only what the sensor supports";
  EXPECT_EQ(ask("04 28 30 40"), "00");
  EXPECT_EQ(ask("04 29 30"), "00 40 85 0a 85 0a");
  set("CPU Temp", 85);
  EXPECT_THAT(events(), IsEmpty());
  EXPECT_EQ(ask("04 2d 30"), "00 55 40 c8");
  EXPECT_EQ(ask("04 28 30 f0 00 00 00 00"), "cc");
  EXPECT_EQ(ask("04 28 30 c1"), "cc");
}

TEST_F(Sensors, WithoutScanningTheReadingIsUnavailableAndNothingHappens) {
  EXPECT_EQ(ask("04 28 30 80"), "00");
  EXPECT_EQ(ask("04 2d 30"), "00 28 a0 c0");
  set("CPU Temp", 85);
  EXPECT_THAT(events(), IsEmpty());
  EXPECT_EQ(ask("04 28 30 c0"), "00");
  EXPECT_THAT(events(), ElementsAre("30 01 57 55 50"));
}

TEST_F(Sensors, EventStatusFollowsAndRearmForgets) {
  EXPECT_EQ(ask("04 2b 30"), "00 c0 00 00 00 00");
  set("CPU Temp", 91);
  EXPECT_EQ(ask("04 2b 30"), "00 c0 80 02 00 00");
  set("CPU Temp", 40);
  EXPECT_EQ(ask("04 2b 30"), "00 c0 00 00 80 02");
  EXPECT_EQ(ask("04 2a 30 80 00 00 80 00"), "00");
  EXPECT_EQ(ask("04 2b 30"), "00 c0 00 00 00 02");
  EXPECT_EQ(ask("04 2a 30 00"), "00");
  EXPECT_EQ(ask("04 2b 30"), "00 c0 00 00 00 00");
  set("CPU Temp", 91);
  events();
  EXPECT_EQ(ask("04 2a 30 00"), "00");
  EXPECT_THAT(events(), ElementsAre("30 01 57 5b 50", "30 01 59 5b 5a")) << "what holds is told again";
  EXPECT_EQ(ask("04 2a 30 80 80 00"), "00");
  EXPECT_THAT(events(), ElementsAre("30 01 57 5b 50"));
  EXPECT_EQ(ask("04 2a 30 01"), "cc");
}

TEST_F(Sensors, TypesAreReadAndSet) {
  EXPECT_EQ(ask("04 2f 30"), "00 01 01");
  EXPECT_EQ(ask("04 2f 40", 1), "00 08 6f");
  EXPECT_EQ(ask("04 2e 30 02 01"), "00");
  EXPECT_EQ(ask("04 2f 30"), "00 02 01");
  EXPECT_EQ(ask("04 2e 30 02 6f"), "cc") << "a sensor with thresholds stays one";
  EXPECT_EQ(ask("04 2e 40 02 01", 1), "cc");
  EXPECT_EQ(ask("04 2e 40 25 08", 1), "00");
  ASSERT_TRUE(bmc->set_sensor_states("PSU", 3, now).ok());
  EXPECT_THAT(events(), ElementsAre("40 08 01 ff ff"));
}

TEST_F(Sensors, SetReadingPinsAThresholdSensor) {
  EXPECT_EQ(ask("04 30 30 01 55"), "00");
  EXPECT_EQ(ask("04 2d 30"), "00 55 c0 c8");
  EXPECT_THAT(events(), ElementsAre("30 01 57 55 50"));
  EXPECT_EQ(ask("04 30 30 41 28 00 00 00 00 57 aa bb"), "00");
  EXPECT_THAT(events(), ElementsAre("30 81 57 aa bb")) << "event data as given, offset included";
  EXPECT_EQ(ask("04 30 30 81 55 00 00 00 00 a0 aa bb"), "00");
  EXPECT_THAT(events(), ElementsAre("30 01 a7 aa bb")) << "event data as given, the offset is the BMC's";
  EXPECT_EQ(ask("04 30 30 00"), "00");
  EXPECT_EQ(ask("04 30 30 02 55"), "cc");
  EXPECT_EQ(ask("04 30 30 c1 55"), "cc");
  EXPECT_EQ(ask("04 30 30 01"), "c7") << "the reading it writes is not there";
  EXPECT_EQ(ask("04 30 30 41 55"), "c7");
  EXPECT_EQ(ask("04 30 30 11 55 01 00"), "80") << "a threshold sensor's status follows from its reading";
  EXPECT_EQ(ask("04 30 31 01 55"), "80") << "not settable";
  EXPECT_EQ(ask("04 2d 31"), "00 0a c0 c0");
}

TEST_F(Sensors, SetReadingSetsAndClearsStatesOfADiscreteSensor) {
  EXPECT_EQ(ask("04 30 40 20 00 02 00", 1), "00");  // set where 1
  EXPECT_EQ(ask("04 2d 40", 1), "00 00 c0 03 80");
  EXPECT_THAT(events(), ElementsAre("40 6f 01 ff ff"));
  EXPECT_EQ(ask("04 30 40 30 00 fe ff", 1), "00");  // clear where 0
  EXPECT_EQ(ask("04 2d 40", 1), "00 00 c0 02 80");
  EXPECT_THAT(events(), ElementsAre("40 ef 00 ff ff"));
  EXPECT_EQ(ask("04 30 40 10 00 08 40", 1), "00");  // write
  EXPECT_EQ(ask("04 2d 40", 1), "00 00 c0 08 c0");
  EXPECT_THAT(events(), ElementsAre("40 ef 01 ff ff", "40 6f 03 ff ff")) << "state 14 raises none, by its mask";
  EXPECT_EQ(ask("04 30 40 08 00 00 00 08 00", 1), "00");  // deassertion bit set
  EXPECT_EQ(ask("04 2d 40", 1), "00 00 c0 00 c0");
  EXPECT_THAT(events(), ElementsAre("40 ef 03 ff ff"));
  EXPECT_EQ(ask("04 2b 40", 1), "00 c0 00 40 0b 00");
  EXPECT_EQ(ask("04 30 40 20 00", 1), "c7");
  EXPECT_EQ(ask("04 30 40 01 55", 1), "80") << "a discrete sensor has no reading";
}

TEST_F(Sensors, TheHandSetsValuesWithinWhatASensorCanSay) {
  auto refused = bmc->set_sensor_value("CPU Temp", 256, now);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("0..255"));
  EXPECT_THAT(bmc->set_sensor_value("Vcore", 0.5, now).error().message, HasSubstr("1..6.1"));
  EXPECT_FALSE(bmc->set_sensor_value("CPU Temp", std::nan(""), now).ok());
  EXPECT_FALSE(bmc->set_sensor_value("CPU Temp", INFINITY, now).ok());
  EXPECT_EQ(bmc->set_sensor_value("nobody", 1, now).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(bmc->set_sensor_value("PSU", 1, now).error().message, HasSubstr("discrete"));
  EXPECT_THAT(bmc->set_sensor_states("CPU Temp", 1, now).error().message, HasSubstr("not states"));
  EXPECT_FALSE(bmc->set_sensor_states("PSU", 0x8000, now).ok());
  ASSERT_TRUE(bmc->set_sensor_value("0x31", 2.5, now).ok()) << "a number will do, and settable is for software";
  EXPECT_DOUBLE_EQ(bmc->sensor("Vcore", now)->value, 2.5);
  EXPECT_THAT(recorder.texts(Change::Kind::kSensor), ElementsAre("Vcore"));
  ASSERT_TRUE(bmc->release_sensor("Vcore", now).ok());
  EXPECT_NEAR(bmc->sensor("Vcore", now)->value, 1.2, 1e-9);
}

TEST_F(Sensors, ConditionsThatHoldAtPowerUpAreNoNewsAndAColdResetForgetsSettings) {
  set("CPU Temp", 91);
  events();
  EXPECT_EQ(ask("04 26 30 08 00 00 00 1e 00 00"), "00");
  EXPECT_EQ(ask("04 28 30 00"), "00");
  bmc->reset(true, now);
  EXPECT_EQ(ask("04 29 30"), "00 c0 85 0a 85 0a");
  EXPECT_EQ(ask("04 27 30"), "00 3b 0a 05 00 50 5a 5f");
  EXPECT_EQ(ask("04 2d 30"), "00 5b c0 d8") << "the machine is as hot as before";
  EXPECT_THAT(events(), IsEmpty());
  set("CPU Temp", 40);
  EXPECT_EQ(events().size(), 2u);
}

TEST_F(Sensors, AConstantBmcIsNeverDue) {
  EXPECT_EQ(sensors_due(), kNever);
  set("CPU Temp", 91);
  EXPECT_EQ(sensors_due(), kNever);
}

class Waves : public SensorTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    SensorConfig s;
    s.name = "Wave";
    s.number = 0x50;
    s.initial = 50;
    s.thresholds.upper_critical = limit;
    s.wave = {shape, amplitude, period};
    c.sensors = {s};
    return c;
  }
  double at(Duration since_period) {
    return bmc->sensor("Wave", Instant(period * 100) + since_period)->value;
  }
  size_t logged() { return bmc->sel(now).size(); }
  Wave::Shape shape = Wave::Shape::kSine;
  double amplitude = 20;
  double limit = 60;
  Duration period = seconds(40);
};

TEST_F(Waves, ShapesAreWhatTheirNamesSay) {
  shape = Wave::Shape::kSine;
  boot();
  EXPECT_EQ(at(seconds(0)), 50);
  EXPECT_EQ(at(seconds(10)), 70);
  EXPECT_EQ(at(seconds(30)), 30);
  shape = Wave::Shape::kTriangle;
  boot();
  EXPECT_EQ(at(seconds(0)), 50);
  EXPECT_EQ(at(seconds(5)), 60);
  EXPECT_EQ(at(seconds(10)), 70);
  EXPECT_EQ(at(seconds(20)), 50);
  EXPECT_EQ(at(seconds(30)), 30);
  EXPECT_EQ(at(seconds(35)), 40);
  shape = Wave::Shape::kSquare;
  boot();
  EXPECT_EQ(at(seconds(0)), 70);
  EXPECT_EQ(at(seconds(19)), 70);
  EXPECT_EQ(at(seconds(20)), 30);
  shape = Wave::Shape::kStep;
  boot();
  EXPECT_EQ(bmc->sensor("Wave", Instant(seconds(39)))->value, 50);
  EXPECT_EQ(bmc->sensor("Wave", Instant(seconds(40)))->value, 70);
  EXPECT_EQ(bmc->sensor("Wave", Instant(seconds(4000)))->value, 70);
}

TEST_F(Waves, AWaveThatCrossesRaisesEventsByItself) {
  for (auto s : {Wave::Shape::kSine, Wave::Shape::kTriangle, Wave::Shape::kSquare}) {
    shape = s;
    store = std::make_shared<BreakableStore>();
    now = Instant(seconds(1010) + seconds(20));  // low, and 30 s into a period
    boot();
    EXPECT_LE(sensors_due(), now + seconds(20));
    pass(seconds(80));
    EXPECT_EQ(logged(), 4u) << "asserted and deasserted, twice, shape " << static_cast<int>(s);
  }
}

TEST_F(Waves, AWaveThatNeverReachesAThresholdIsNeverDue) {
  limit = 71;
  boot();
  EXPECT_EQ(sensors_due(), kNever);
  EXPECT_EQ(ask("04 26 50 10 00 00 00 00 45 00"), "00");
  EXPECT_LE(sensors_due(), now + milliseconds(250)) << "a threshold came into its way";
  EXPECT_EQ(ask("04 28 50 40"), "00");
  EXPECT_EQ(sensors_due(), kNever) << "nobody wants its events";
}

TEST_F(Waves, AStepHappensOnceAndThenNothingIsDue) {
  shape = Wave::Shape::kStep;
  period = seconds(1100);
  boot();
  EXPECT_EQ(sensors_due(), Instant(seconds(1100)));
  pass(seconds(200));
  EXPECT_EQ(logged(), 1u);
  EXPECT_EQ(sensors_due(), kNever);
}

TEST_F(Waves, APinnedSensorStandsStillAndAReleasedOneMovesOn) {
  ASSERT_TRUE(bmc->set_sensor_value("Wave", 50, now).ok());
  EXPECT_EQ(sensors_due(), kNever);
  EXPECT_EQ(at(seconds(10)), 50);
  ASSERT_TRUE(bmc->release_sensor("Wave", now).ok());
  EXPECT_EQ(at(seconds(10)), 70);
  EXPECT_NE(sensors_due(), kNever);
}

TEST_F(Waves, AReadingHasItsEventNoLaterThanTheResponse) {
  now = Instant(seconds(1040));
  boot();
  now = Instant(seconds(1050));
  EXPECT_EQ(ask("04 2d 50"), "00 46 c0 d0");
  EXPECT_EQ(logged(), 1u);
}

TEST(SensorConfiguration, MistakesAreNamedBySensorAndField) {
  auto message = [](auto change) {
    SensorConfig s;
    s.name = "S";
    change(s);
    auto done = validate_sensor(s);
    return done.ok() ? std::string("fine") : done.error().message;
  };
  EXPECT_EQ(message([](SensorConfig&) {}), "fine");
  EXPECT_THAT(message([](SensorConfig& s) { s.name = "seventeen letters"; }), HasSubstr("name"));
  EXPECT_THAT(message([](SensorConfig& s) { s.name = ""; }), HasSubstr("name"));
  EXPECT_THAT(message([](SensorConfig& s) { s.number = 0xff; }), HasSubstr("'S': number"));
  EXPECT_THAT(message([](SensorConfig& s) { s.owner_lun = 2; }), HasSubstr("owner_lun"));
  EXPECT_THAT(message([](SensorConfig& s) { s.m = 0; }), HasSubstr("m:"));
  EXPECT_THAT(message([](SensorConfig& s) { s.m = 512; }), HasSubstr("m:"));
  EXPECT_THAT(message([](SensorConfig& s) { s.b = -513; }), HasSubstr("b:"));
  EXPECT_THAT(message([](SensorConfig& s) { s.r_exponent = 8; }), HasSubstr("r_exponent"));
  EXPECT_THAT(message([](SensorConfig& s) { s.b_exponent = -9; }), HasSubstr("b_exponent"));
  EXPECT_THAT(message([](SensorConfig& s) { s.initial = 300; }), HasSubstr("initial: 300 is outside"));
  EXPECT_THAT(message([](SensorConfig& s) { s.initial = std::nan(""); }), HasSubstr("initial"));
  EXPECT_THAT(message([](SensorConfig& s) { s.thresholds.upper_critical = -1; }), HasSubstr("upper critical"));
  EXPECT_THAT(message([](SensorConfig& s) { s.thresholds.positive_hysteresis = -1; }), HasSubstr("hysteresis"));
  EXPECT_THAT(message([](SensorConfig& s) { s.wave = {Wave::Shape::kSine, 1, Duration(0)}; }), HasSubstr("period"));
  EXPECT_THAT(message([](SensorConfig& s) { s.wave = {Wave::Shape::kSine, INFINITY, seconds(1)}; }),
              HasSubstr("amplitude"));
  EXPECT_THAT(message([](SensorConfig& s) { s.threshold = false, s.event_reading_type = 1; }),
              HasSubstr("event_reading_type"));
  EXPECT_THAT(message([](SensorConfig& s) { s.threshold = false, s.initial_state = 0x8000; }),
              HasSubstr("initial_state"));
}

TEST(SensorConfiguration, NumbersAndNamesAreUnique) {
  BmcConfig c;
  c.sensors.resize(2);
  c.sensors[0].name = "a";
  c.sensors[1].name = "b";
  EXPECT_THAT(Bmc::create(c, nullptr, nullptr, Instant{}).error().message, HasSubstr("number 0 is that of 'a'"));
  c.sensors[1].number = 1;
  c.sensors[1].name = "a";
  EXPECT_THAT(Bmc::create(c, nullptr, nullptr, Instant{}).error().message, HasSubstr("twice"));
}

}  // namespace
}  // namespace bmcpair::firmware::testing
