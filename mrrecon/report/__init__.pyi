from .document import write_report as write_report
from .plots import draw_cost as draw_cost
from .plots import draw_quality as draw_quality
from .plots import draw_settings as draw_settings
from .summary import Summary as Summary
from .summary import gains as gains
