"""Write-ahead outputs are sent together, and the state of their users waits for them."""

from models.person.preferences import Interaction
from models.schema.outputs import EarlySignal
from streams.delivery.write_ahead import MAX_WAITING, SINGLE_PARTITION, WriteAheadFailed, WriteAheadOutputs
from streams.kafka import topics
from streams.kafka.topics import partition_of, partitions_of
from streams.metrics import Metrics
from streams.settings import Settings
from tests.streams.doubles import ManualSink, Put, turn

MANY = 8


class Harness:
    """Write-ahead outputs on a sink that a test acknowledges."""

    def __init__(self) -> None:
        self.sink, self.metrics = ManualSink(), Metrics()
        self.outputs = WriteAheadOutputs(lambda: self.sink, "p-", MANY, self.metrics)

    def add(self, user: bytes, name: str, course: str = "") -> None:
        """Add an interaction with a course, or an early signal if no course is given."""
        if course:
            self.outputs.add(user, Interaction(id=name, course=course, person=1, time=1.0, before=0, after=1, new=True))
        else:
            signal = EarlySignal(id=name, user="hash", time=1.0, until=2.0, back=True, probability=0.5, treated=False)
            self.outputs.add(user, signal)

    def on(self, topic: str) -> list[Put]:
        return self.sink.on(f"p-{topic}")

    def count(self, topic: str) -> int:
        return self.metrics.value("encore_outputs_total", topic)


def test_outputs_are_sent_together_each_to_its_partition() -> None:
    """Examples go to the only partition, interactions to the one of their key. All are counted when acknowledged."""
    harness = Harness()
    courses = [f"course {number}" for number in range(20)]
    for course in courses:
        harness.add(b"Ada", f"of {course}", course)
    harness.add(b"Ada", "signal")
    assert not harness.sink.all
    harness.outputs.send()
    assert [(put.topic, put.partition) for put in harness.on(topics.EXAMPLES)] == [("p-examples", 0)]
    interactions = {(put.key, put.partition) for put in harness.on(topics.INTERACTIONS)}
    assert interactions == {(course.encode(), partition_of(course.encode(), MANY)) for course in courses}
    assert harness.count(topics.INTERACTIONS) == 0
    harness.sink.acknowledge()
    assert (harness.count(topics.INTERACTIONS), harness.count(topics.EXAMPLES)) == (20, 1)
    harness.outputs.send()
    assert len(harness.sink.all) == 21


def test_a_state_waits_for_its_outputs_and_all_before_them() -> None:
    """This holds for any order of acknowledgements. Other states never wait, and none waits after all are there."""
    harness = Harness()
    harness.add(b"Ada", "first")
    harness.outputs.send()
    harness.add(b"Bea", "second", "course")
    harness.outputs.send()
    ada, bea = harness.outputs.before_state((b"Ada",)), harness.outputs.before_state((b"Bea", b"Cyd"))
    assert ada is not None
    assert bea is not None
    assert harness.outputs.before_state((b"Cyd",)) is None
    harness.sink.acknowledge(harness.on(topics.INTERACTIONS))
    assert (ada.done(), bea.done()) == (False, False)
    harness.sink.acknowledge()
    assert (ada.done(), bea.done(), bea.exception()) == (True, True, None)
    assert harness.outputs.before_state((b"Ada", b"Bea")) is None


def test_outputs_not_sent_yet_are_sent_before_their_state() -> None:
    """The outputs of other users stay collected."""
    harness = Harness()
    harness.add(b"Ada", "first")
    harness.add(b"Cyd", "other")
    assert harness.outputs.before_state((b"Bea",)) is None
    assert not harness.sink.all
    assert harness.outputs.before_state((b"Bea", b"Ada")) is not None
    assert [b"first" in (put.value or b"") for put in harness.sink.all] == [True]
    harness.outputs.send()
    assert len(harness.sink.all) == 2


def test_many_collected_outputs_are_sent_at_once() -> None:
    """The limit is `MAX_WAITING`."""
    harness = Harness()
    for number in range(MAX_WAITING - 1):
        harness.add(b"Ada", str(number))
    assert not harness.sink.all
    harness.add(b"Ada", "last")
    assert len(harness.sink.all) == MAX_WAITING


def test_the_state_of_several_users_waits_for_all_their_outputs() -> None:
    """One future covers the users, also if their outputs were sent separately."""
    harness = Harness()
    for user in (b"Ada", b"Bea"):
        harness.add(user, user.decode())
        harness.outputs.send()
    both = harness.outputs.before_state((b"Ada", b"Bea"))
    assert both is not None
    harness.sink.acknowledge(harness.sink.open()[:1])
    assert not both.done()
    harness.sink.acknowledge()
    assert both.done()


def test_a_lost_output_fails_its_state_and_all_later_ones() -> None:
    """The sender has failed: neither this state nor a later one may be written."""
    harness = Harness()
    harness.add(b"Ada", "lost")
    harness.outputs.send()
    harness.sink.fail(harness.sink.open())
    turn()
    state = harness.outputs.before_state((b"Ada",))
    assert state is not None
    assert isinstance(state.exception(), WriteAheadFailed)
    harness.add(b"Ada", "later")
    harness.outputs.send()
    harness.sink.acknowledge()
    state = harness.outputs.before_state((b"Ada",))
    assert state is not None
    assert isinstance(state.exception(), WriteAheadFailed)
    assert harness.count(topics.EXAMPLES) == 1


def test_single_partition_topics_are_created_with_one_partition() -> None:
    """The constant agrees with the settings of the topics."""
    partitions = partitions_of(Settings(prefix="", partitions=MANY))
    assert {topic for topic in (topics.EXAMPLES, topics.INTERACTIONS) if partitions[topic] == 1} == set(
        SINGLE_PARTITION
    )
