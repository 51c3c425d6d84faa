"""What follows from the log alone leaves many together, and the state of whoever said it waits for it."""

from models.person.preferences import Interaction
from models.schema.outputs import EarlySignal
from streams.delivery.write_ahead import MAX_WAITING, SINGLE_PARTITION, WriteAheadFailed, WriteAheadOutputs
from streams.kafka import topics
from streams.kafka.topics import partition_of, partitions_of
from streams.metrics import Metrics
from streams.settings import Settings
from tests.streams.doubles import ManualSink, Put, turn

MANY = 8


class Desk:
    """What goes ahead of one partition's state, over a sink that a test acknowledges."""

    def __init__(self) -> None:
        self.sink, self.metrics = ManualSink(), Metrics()
        self.ahead = WriteAheadOutputs(lambda: self.sink, "p-", MANY, self.metrics)

    def say(self, who: bytes, name: str, course: str = "") -> None:
        """Say something of a course, or else an early sign."""
        if course:
            self.ahead.add(who, Interaction(id=name, course=course, person=1, time=1.0, before=0, after=1, new=True))
        else:
            sign = EarlySignal(id=name, user="hash", time=1.0, until=2.0, back=True, probability=0.5, treated=False)
            self.ahead.add(who, sign)

    def on(self, topic: str) -> list[Put]:
        return self.sink.on(f"p-{topic}")

    def count(self, topic: str) -> int:
        return self.metrics.value("encore_outputs_total", topic)


def test_outputs_leave_together_each_for_its_partition() -> None:
    """Examples stand in the only one there is, what courses hear where their key says; all is counted on arrival."""
    desk = Desk()
    courses = [f"course {number}" for number in range(20)]
    for course in courses:
        desk.say(b"Ada", f"of {course}", course)
    desk.say(b"Ada", "sign")
    assert not desk.sink.all
    desk.ahead.send()
    assert [(put.topic, put.partition) for put in desk.on(topics.EXAMPLES)] == [("p-examples", 0)]
    heard = {(put.key, put.partition) for put in desk.on(topics.INTERACTIONS)}
    assert heard == {(course.encode(), partition_of(course.encode(), MANY)) for course in courses}
    assert desk.count(topics.INTERACTIONS) == 0
    desk.sink.acknowledge()
    assert (desk.count(topics.INTERACTIONS), desk.count(topics.EXAMPLES)) == (20, 1)
    desk.ahead.send()
    assert len(desk.sink.all) == 21


def test_the_state_of_whoever_said_something_waits_for_it_and_for_all_before_it() -> None:
    """Whatever arrives first; nobody else waits, and nobody does any more once it is there."""
    desk = Desk()
    desk.say(b"Ada", "first")
    desk.ahead.send()
    desk.say(b"Bea", "second", "course")
    desk.ahead.send()
    ada, bea = desk.ahead.before_state((b"Ada",)), desk.ahead.before_state((b"Bea", b"Cyd"))
    assert ada is not None
    assert bea is not None
    assert desk.ahead.before_state((b"Cyd",)) is None
    desk.sink.acknowledge(desk.on(topics.INTERACTIONS))
    assert (ada.done(), bea.done()) == (False, False)
    desk.sink.acknowledge()
    assert (ada.done(), bea.done(), bea.exception()) == (True, True, None)
    assert desk.ahead.before_state((b"Ada", b"Bea")) is None


def test_whoever_is_written_in_the_same_breath_waits_for_what_has_not_left_yet() -> None:
    """What others said goes on waiting for company."""
    desk = Desk()
    desk.say(b"Ada", "first")
    desk.say(b"Cyd", "other")
    assert desk.ahead.before_state((b"Bea",)) is None
    assert not desk.sink.all
    assert desk.ahead.before_state((b"Bea", b"Ada")) is not None
    assert [b"first" in (put.value or b"") for put in desk.sink.all] == [True]
    desk.ahead.send()
    assert len(desk.sink.all) == 2


def test_many_outputs_do_not_wait_to_be_told() -> None:
    desk = Desk()
    for number in range(MAX_WAITING - 1):
        desk.say(b"Ada", str(number))
    assert not desk.sink.all
    desk.say(b"Ada", "last")
    assert len(desk.sink.all) == MAX_WAITING


def test_the_state_of_many_waits_for_the_newest_of_theirs() -> None:
    desk = Desk()
    for who in (b"Ada", b"Bea"):
        desk.say(who, who.decode())
        desk.ahead.send()
    both = desk.ahead.before_state((b"Ada", b"Bea"))
    assert both is not None
    desk.sink.acknowledge(desk.sink.open()[:1])
    assert not both.done()
    desk.sink.acknowledge()
    assert both.done()


def test_what_never_arrives_is_waited_for_in_vain() -> None:
    """Its sender has failed: neither this state nor what was said later ever counts as there."""
    desk = Desk()
    desk.say(b"Ada", "lost")
    desk.ahead.send()
    desk.sink.fail(desk.sink.open())
    turn()
    state = desk.ahead.before_state((b"Ada",))
    assert state is not None
    assert isinstance(state.exception(), WriteAheadFailed)
    desk.say(b"Ada", "later")
    desk.ahead.send()
    desk.sink.acknowledge()
    state = desk.ahead.before_state((b"Ada",))
    assert state is not None
    assert isinstance(state.exception(), WriteAheadFailed)
    assert desk.count(topics.EXAMPLES) == 1


def test_topics_of_one_partition_are_those_that_are_made_so() -> None:
    made = partitions_of(Settings(prefix="", partitions=MANY))
    assert {topic for topic in (topics.EXAMPLES, topics.INTERACTIONS) if made[topic] == 1} == set(SINGLE_PARTITION)
