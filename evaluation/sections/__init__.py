"""The sections of the evaluation, one file each, in the order in which reports show them."""

from evaluation.job import Section
from evaluation.sections import buffer, generalisation, joint, likelihood, patterns, quality, references, samples

# A new section is a file of this folder and its name here.
SECTIONS: dict[str, Section] = {
    module.SECTION.name: module.SECTION
    for module in (likelihood, patterns, joint, samples, references, buffer, generalisation, quality)
}
