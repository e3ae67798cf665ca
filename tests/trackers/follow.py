"""Follows rendered cars with a tracker of others; run by the trackers' own Python, prints JSON.

    python follow.py ARTIFACT TRACKER SCENE:FEATURES...

TRACKER is botsort, strongsort, deepsort or norfair. SCENE "hidden": a car is behind something for
six frames and drives on; "swapped": two cars change places while nobody sees them, so that motion
alone takes each for the other. FEATURES "model" are those of the artifact, "blind" one vector for
every box. What is printed is a list for each scene: the ids that each car had, frame by frame, null
where none.
"""

import json
import sys

import numpy as np

from mtml_deploy.trackers import ReidModel

COLOURS = ((220, 30, 30), (30, 200, 40), (30, 40, 220), (230, 220, 40))  # RGB
WIDTH, HEIGHT = 60, 40
FRAMES = 34
GONE = range(16, 22)


def corner(scene, car, frame):
    """Upper left corner of a car, pixels; None where it is not seen."""
    if scene == "hidden":
        if car == 1 and frame in GONE:
            return None
        return 10 + 4 * frame, 8 + 56 * car
    if car < 2 and frame in GONE:
        return None
    # the first two stand behind each other, and stand exchanged once they are back
    place = 1 - car if car < 2 and frame >= GONE.stop else car
    return 40 + 2 * (frame % 2) + 30 * (place % 2), 8 + 56 * place


def render(scene, frame):
    """The frame uint8 [H, W, 3], BGR, the cars that are seen, and their boxes x1, y1, x2, y2."""
    noise = np.random.default_rng(frame).integers(100, 120, (240, 320, 3))
    image = noise.astype(np.uint8)
    cars, boxes = [], []
    for car, colour in enumerate(COLOURS):
        place = corner(scene, car, frame)
        if place is None:
            continue
        x, y = place
        image[y : y + HEIGHT, x : x + WIDTH] = colour[::-1]
        image[y + 5 : y + 15, x + 10 : x + 50] = (70, 60, 60)  # windows
        cars.append(car)
        boxes.append([x, y, x + WIDTH, y + HEIGHT])
    return image, cars, np.array(boxes, dtype=np.float32)


class Blind:
    """A model to which all boxes look alike."""

    def get_features(self, xyxy, image):
        return np.tile(np.float32([1, 0, 0, 0, 0, 0]), (len(xyxy), 1))


def boxmot_step(kind, model):
    from boxmot import BotSort, StrongSort

    tracker = BotSort(reid_model=model, use_cmc=False) if kind == "botsort" else StrongSort(
        reid_model=model, max_cos_dist=0.1, max_iou_dist=0.5)  # fmt: skip

    def step(image, boxes):
        rest = np.tile(np.float32([0.9, 0]), (len(boxes), 1))
        return [(row[:4], int(row[4])) for row in tracker.update(np.hstack([boxes, rest]), image)]

    return step


def deepsort_step(model):
    from deep_sort_realtime.deepsort_tracker import DeepSort

    tracker = DeepSort(embedder=None, max_cosine_distance=0.1)

    def step(image, boxes):
        rows = [([*box[:2], *(box[2:] - box[:2])], 0.9, "car") for box in boxes]
        tracks = tracker.update_tracks(rows, embeds=list(model.get_features(boxes, image)))
        return [
            (track.to_ltrb(), int(track.track_id))
            for track in tracks
            if track.is_confirmed() and track.time_since_update == 0
        ]

    return step


def norfair_step(model):
    from norfair import Detection, Tracker

    def unlike(new, old):
        return 1 - float(new.last_detection.embedding @ old.last_detection.embedding)

    tracker = Tracker(
        "euclidean", distance_threshold=15, hit_counter_max=3, initialization_delay=2,
        reid_distance_function=unlike, reid_distance_threshold=0.05, reid_hit_counter_max=40,
    )  # fmt: skip

    def step(image, boxes):
        vectors = model.get_features(boxes, image)
        seen = [
            Detection(points=box.reshape(2, 2), embedding=vector)
            for box, vector in zip(boxes, vectors, strict=True)
        ]
        return [
            (track.last_detection.points.ravel(), track.id)
            for track in tracker.update(seen)
            if track.last_detection in seen
        ]

    return step


def followed(kind, scene, model):
    """[cars][frames] the id of each car, None where the tracker told none."""
    steps = {"deepsort": deepsort_step, "norfair": norfair_step}
    step = steps[kind](model) if kind in steps else boxmot_step(kind, model)
    ids = [[] for _ in COLOURS]
    for frame in range(FRAMES):
        image, cars, boxes = render(scene, frame)
        found = step(image, boxes)
        for car in range(len(COLOURS)):
            near = [
                id_ for box, id_ in found
                if car in cars and np.abs(box - boxes[cars.index(car)]).max() < WIDTH / 4
            ]  # fmt: skip
            ids[car].append(near[0] if len(near) == 1 else None)
    return ids


def main(artifact, kind, *scenes):
    found = []
    with ReidModel(artifact, model_threads=1, threads=1) as model:
        for text in scenes:
            scene, _, features = text.partition(":")
            found.append(followed(kind, scene, model if features == "model" else Blind()))
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
