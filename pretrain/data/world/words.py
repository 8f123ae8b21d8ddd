"""The words of the world: short, common, and few, so that a small trained vocabulary gives one token a word."""

from __future__ import annotations


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FEMALE = _list(
    """
    Ada Alma Anna Bella Carla Clara Cora Dora Edith Ella Emma Eva Flora Greta Hanna Helen Ida Irma Jane Julia
    Kate Laura Lena Lily Lucy Mara Maria Martha Mia Mona Nina Nora Olga Paula Rita Rosa Ruth Sara Sofia Tina
    Vera Wilma
    """
)
MALE = _list(
    """
    Adam Albert Alex Anton Arthur Ben Boris Carl Conrad David Dean Edgar Emil Eric Felix Frank Fred George Hans
    Henry Hugo Ivan Jacob Jack John Kurt Leo Lewis Louis Marco Mark Martin Max Oscar Otto Paul Peter Ralph
    Robert Simon Theo Victor
    """
)
LAST = _list(
    """
    Abbot Ames Archer Baker Banks Barton Bell Berg Bishop Black Bond Booth Brook Brown Burton Carter Chase Cole
    Cook Cooper Cross Dale Dalton Day Dixon Drake Dunn Ellis Field Fisher Ford Foster Fox Frost Gale Gibbs Grant
    Gray Green Hall Harper Hart Hill Holt Hunt Kent King Knight Lake Lane Lloyd Long Marsh Mason Mills Moore
    Moss Myers Nash North Page Park Perry Pike Pond Poole Porter Potter Price Quinn Reed Rhodes Rice Rose Ross
    Shaw Sharp Stone Swan Todd Tucker Turner Vance Wade Walsh Ward Warren Watts Webb Wells West White Wood Wyatt
    York Young
    """
)
CITIES = _list(
    """
    Athens Berlin Bern Boston Cairo Chicago Dallas Delhi Dublin Florence Geneva Lima Lisbon London Lyon Madrid
    Manila Miami Milan Moscow Munich Naples Oslo Paris Porto Prague Rome Seoul Sydney Tokyo Venice Vienna
    """
)
JOBS = _list(
    """
    baker banker barber builder butcher carpenter clerk coach dancer dentist doctor driver farmer gardener guard
    judge lawyer miner nurse painter pilot plumber poet porter printer sailor singer soldier tailor teacher
    waiter writer
    """
)
FOODS = _list(
    """
    bacon beans beef bread cabbage carrots cheese chicken curry dumplings fish ham honey lamb lentils mushrooms
    noodles nuts pancakes pasta peas pie pizza pork potatoes rice salad salmon sausages soup stew tofu
    """
)
PETS = _list(
    """
    bat bear bird bull camel cat cow crab dog donkey duck frog goat goose hamster hawk hen horse lion lizard
    monkey mouse parrot pig pony rabbit rat sheep snake spider turtle wolf
    """
)
INSTRUMENTS = _list(
    """
    banjo bass bell bugle cello clarinet cornet drum fiddle flute gong guitar harp horn lute lyre mandolin oboe
    organ piano piccolo pipe recorder saxophone sitar tambourine triangle trombone trumpet tuba viola violin
    """
)
COLOURS = _list(
    """
    amber aqua beige black blue bronze brown copper coral cream crimson gold gray green indigo ivory khaki lilac
    lime maroon mint navy olive orange pink plum purple red silver tan violet white
    """
)
# What lists are made of: no two begin alike enough to be hard to sort by eye, and each has an upper-case twin.
LIST_WORDS = _list(
    """
    apple box cup door egg fan gate hat ink jar key lamp map net oven pen quilt rope sock tent urn vase wall
    yarn zip bag coin desk fork glue hook kite
    """
)
NOUNS = _list(
    """
    river bridge forest garden market mountain village tower harbour meadow valley castle road field island
    church window kitchen station library school wagon boat train candle mirror clock blanket basket ladder
    hammer kettle
    """
)
ADJECTIVES = _list(
    """
    old new small large quiet loud bright dark warm cold clean dusty heavy light narrow wide empty full broken
    pretty
    """
)
VERBS = _list("passes follows faces holds hides meets crosses covers joins leaves reaches touches")
TIMES = _list("spring summer autumn winter April June July August")
